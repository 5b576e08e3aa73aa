"""Who is who between devices, broker and server: an authority of one's own, its certificates, and what each may do."""
