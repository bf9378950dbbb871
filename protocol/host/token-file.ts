// A token from a file or from standard input, which other users of the host cannot look at.
import { open } from 'node:fs/promises'
import { VarveError } from '../errors.ts'
import { TOKEN_CHARS_MAX } from '../limits.ts'

/** Bytes that are read of a file or of standard input. */
const READ_BYTES_MAX = 2 * TOKEN_CHARS_MAX

/** Stands for standard input. */
export const STDIN = '-'

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

/** One token, without the white space around it; `printedBy` is the command that prints one. PARAMS_INVALID. */
export const checkedToken = (text: string, where: string, printedBy: string): string => {
  const token = text.trim()
  if (token === '') throw new VarveError('PARAMS_INVALID', `there is no token in ${where}: it is empty`)
  if (token.length > TOKEN_CHARS_MAX || /\s/u.test(token))
    throw new VarveError('PARAMS_INVALID', `${where} does not hold exactly one token as "${printedBy}" prints it`)
  return token
}

/** The text of a file or a pipe; with `secret`, a file that others may read is refused as CONFIG_INVALID. */
const readFileText = async (file: string, secret: boolean): Promise<string> => {
  try {
    await using handle = await open(file, 'r')
    const stat = await handle.stat()
    if (secret && stat.isFile() && (stat.mode & 0o077) !== 0)
      throw new VarveError('CONFIG_INVALID', `${file} must be readable by its owner only: chmod 600 ${file}`)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(READ_BYTES_MAX + 1))
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    throw error instanceof VarveError ? error : unreadable(file, error)
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

export interface TokenPlace {
  /** A path, or `-` for standard input. */
  readonly file: string
  readonly printedBy: string
  /** It is used again and again: a file that others may read is refused. */
  readonly secret?: boolean
  readonly input?: NodeJS.ReadableStream
}

/** The token in a file, a pipe or standard input; PARAMS_INVALID, CONFIG_INVALID where others may read it. */
export const tokenIn = async ({
  file,
  printedBy,
  secret = false,
  input = process.stdin,
}: TokenPlace): Promise<string> =>
  file === STDIN
    ? checkedToken(await readInput(input), 'standard input', printedBy)
    : checkedToken(await readFileText(file, secret), file, printedBy)
