"""The rules of other papers, one file each."""
