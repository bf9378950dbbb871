// Reads an enrolment token from a file, standard input or the environment, which other users of the host cannot see;
// or from the command line, which they can.
import { open } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { TOKEN_CHARS_MAX } from '../../protocol/limits.ts'

/** The environment variable that holds the token where no option gives one. */
export const TOKEN_VARIABLE = 'VARVE_ENROLMENT_TOKEN'

/** Bytes that are read of a file or of standard input. */
const READ_BYTES_MAX = 2 * TOKEN_CHARS_MAX

/** Stands for standard input. */
const STDIN = '-'

export interface TokenOptions {
  /** The token, or `-`. */
  readonly token?: string
  /** Path of a file that holds it, or `-`. */
  readonly tokenFile?: string
}

const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a folder',
}

const unreadable = (file: string, error: unknown): VarveError => {
  const { code = '', message } = error as NodeJS.ErrnoException
  return new VarveError('PARAMS_INVALID', `cannot read the token in ${file}: ${WAYS[code] ?? message}`, {
    cause: error,
  })
}

const readFileText = async (file: string): Promise<string> => {
  try {
    await using handle = await open(file, 'r')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(READ_BYTES_MAX + 1))
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    throw unreadable(file, error)
  }
}

const readInput = async (input: NodeJS.ReadableStream): Promise<string> => {
  let text = ''
  try {
    for await (const part of input) {
      text += part.toString()
      if (text.length > READ_BYTES_MAX) break
    }
  } catch (error) {
    throw unreadable('standard input', error)
  }
  return text
}

const checked = (text: string, where: string): string => {
  const token = text.trim()
  if (token === '') throw new VarveError('PARAMS_INVALID', `there is no token in ${where}: it is empty`)
  if (token.length > TOKEN_CHARS_MAX || /\s/u.test(token))
    throw new VarveError(
      'PARAMS_INVALID',
      `${where} does not hold exactly one token as "varve-gateway enrol" prints it`,
    )
  return token
}

/** The token of an enrolment; PARAMS_INVALID where there is none, or more than one place is named. */
export const readToken = async (
  { token, tokenFile }: TokenOptions,
  from: { readonly env: NodeJS.ProcessEnv; readonly input: NodeJS.ReadableStream } = {
    env: process.env,
    input: process.stdin,
  },
): Promise<string> => {
  if (token !== undefined && tokenFile !== undefined)
    throw new VarveError('PARAMS_INVALID', 'give the token only once: with --token-file or --token')
  if ((token ?? tokenFile) === STDIN) return checked(await readInput(from.input), 'standard input')
  if (tokenFile !== undefined) return checked(await readFileText(tokenFile), tokenFile)
  if (token !== undefined) return checked(token, '--token')
  const variable = from.env[TOKEN_VARIABLE]
  if (variable !== undefined) return checked(variable, TOKEN_VARIABLE)
  throw new VarveError(
    'PARAMS_INVALID',
    `a token is needed, as "varve-gateway enrol" prints it: --token-file FILE, --token - (standard input), or ${TOKEN_VARIABLE} in the environment`,
  )
}
