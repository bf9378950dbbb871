// Why a session ended, kept in the tab while its page is loaded anew: a code and a sentence, nothing else.
import { isErrorCode, VarveError } from '../../../protocol/errors.ts'
import type { PageStorage } from './link.ts'

const KEY = 'varve.ended'

/** Longest sentence that is kept, in characters. */
const MESSAGE_MAX = 500

/** Null keeps nothing. */
export const keepEnd = (storage: PageStorage, error: VarveError | null): void => {
  if (error === null) storage.removeItem(KEY)
  else storage.setItem(KEY, JSON.stringify([error.code, error.message.slice(0, MESSAGE_MAX)]))
}

/** What was kept, once; null where there is nothing of use. */
export const takeEnd = (storage: PageStorage): VarveError | null => {
  const text = storage.getItem(KEY)
  storage.removeItem(KEY)
  if (text === null) return null
  try {
    const [code, message] = JSON.parse(text) as readonly unknown[]
    return typeof code === 'string' && isErrorCode(code) && typeof message === 'string'
      ? new VarveError(code, message)
      : null
  } catch {
    return null
  }
}
