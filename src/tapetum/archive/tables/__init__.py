"""Tables as clinics export them, read as text and joined to what the files say of themselves."""
