// The version of this tree's programs.

export const VERSION = '0.1.0'
