"""The benchmark: selfinstall beside what people would use instead.  See README.md here."""
