// Secrets that a command is given: from a file or standard input, never as an argument, which others on the host can see.
import { open } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { STDIN } from '../../protocol/host/token-file.ts'

/** Longest secret that is read, in bytes. */
const SECRET_BYTES_MAX = 8192

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

const readStandardInput = async (): Promise<string> => {
  let text = ''
  for await (const part of process.stdin) {
    text += String(part)
    if (text.length > SECRET_BYTES_MAX) break
  }
  return text
}

const readFileText = async (file: string, what: string): Promise<string> => {
  try {
    await using handle = await open(file, 'r')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(SECRET_BYTES_MAX + 1))
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    throw wrong(`cannot read ${what} in ${file}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`)
  }
}

/** A secret in one line, without the line's end; `what` names it. PARAMS_INVALID. */
export const readToken = async (file: string, what: string): Promise<string> => {
  const where = file === STDIN ? 'standard input' : file
  const text = (file === STDIN ? await readStandardInput() : await readFileText(file, what)).replace(/\r?\n$/u, '')
  if (text === '') throw wrong(`${what} is not in ${where}: it is empty`)
  if (text.length > SECRET_BYTES_MAX || /[\r\n\0]/u.test(text)) throw wrong(`${what} in ${where} is not one line`)
  return text
}
