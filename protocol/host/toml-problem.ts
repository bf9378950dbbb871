// What is wrong with the text of a TOML file, in one line.

/** An error of the parser, which draws the place over several lines, as a sentence with the number of the line. */
export const tomlProblem = (error: Error & { readonly line?: unknown }): string => {
  const what = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /u, '')
  return typeof error.line === 'number' ? `line ${error.line} is not TOML: ${what}` : `it is not TOML: ${what}`
}
