"""Many runs side by side: which, what came of them, and the table, the files and the picture."""
