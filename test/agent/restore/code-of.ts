// The outcome of a promise as a code, to be compared in a test.
import { VarveError } from '../../../protocol/errors.ts'

/** The code of the VarveError it rejects with, `none` when it does not reject; anything else thrown is a failure. */
export const codeOf = async (work: Promise<unknown>): Promise<string> => (await failureOf(work))?.code ?? 'none'

/** The VarveError it rejects with, or null. */
export const failureOf = async (work: Promise<unknown>): Promise<VarveError | null> => {
  try {
    await work
    return null
  } catch (thrown) {
    if (thrown instanceof VarveError) return thrown
    throw thrown
  }
}
