"""Write-audit-publish: part files, the audit, the statements, and what people decide."""
