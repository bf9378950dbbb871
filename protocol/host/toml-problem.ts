// What is wrong with the text of a TOML file, in one line.

/** The parser's error, which spans several lines, as one sentence with the line number. */
export const tomlProblem = (error: Error & { readonly line?: unknown }): string => {
  const what = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /u, '')
  return typeof error.line === 'number' ? `line ${error.line} is not TOML: ${what}` : `it is not TOML: ${what}`
}
