// A TOML file's text as the values that a schema describes, or one line that says what is wrong with it.
import { parse } from 'smol-toml'
import * as v from 'valibot'
import { VarveError } from '../errors.ts'
import { misfit } from '../misfit.ts'

/** The parser's error, which spans several lines, as one sentence with the line number. */
export const tomlProblem = (error: Error & { readonly line?: unknown }): string => {
  const what = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /u, '')
  return typeof error.line === 'number' ? `line ${error.line} is not TOML: ${what}` : `it is not TOML: ${what}`
}

/** CONFIG_INVALID names the file, and the line or the key. */
export const parseToml = <Schema extends v.GenericSchema>(
  file: string,
  text: string,
  schema: Schema,
): v.InferOutput<Schema> => {
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw new VarveError('CONFIG_INVALID', `${file}: ${tomlProblem(error as Error)}`, { cause: error })
  }
  const checked = v.safeParse(schema, value)
  if (checked.success) return checked.output
  throw new VarveError('CONFIG_INVALID', `${file}: ${misfit(schema, checked.issues, { toml: true })}`)
}
