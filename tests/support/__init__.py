"""What tests of several folders share: a ready site on a throwaway machine, and the browser's side of HTTP."""
