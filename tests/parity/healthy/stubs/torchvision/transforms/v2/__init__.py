"""Its functions are looked up when a picture is processed."""
