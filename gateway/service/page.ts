// Pages of lists: the end of a page as an opaque cursor, valid only for the list that it came from.
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'

/** The row's key in the order of its list. */
type Key = readonly (string | number)[]

/** The cursor behind the row with this key. */
export const cursorOf = (list: string, key: Key): string =>
  Buffer.from(JSON.stringify([list, ...key])).toString('base64url')

const partsOf = (cursor: string): unknown => {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    return null
  }
}

/**
 * The key behind which a page of the list begins; null for the first page. `list` names it with its filters.
 * PARAMS_INVALID for a cursor that this list did not give.
 */
export const keyBehind = <S extends v.GenericSchema>(
  list: string,
  after: string | null,
  schema: S,
): v.InferOutput<S> | null => {
  if (after === null) return null
  const parts = partsOf(after)
  const key = v.safeParse(schema, Array.isArray(parts) && parts[0] === list ? parts.slice(1) : null)
  if (key.success) return key.output
  throw new VarveError('PARAMS_INVALID', 'after: not a cursor of this list: begin with its first page')
}

interface Page<R> {
  readonly rows: readonly R[]
  /** True if rows follow. */
  readonly more: boolean
}

/** The cursor behind the last row of a page that is not the last. */
export const nextOf = <R>(list: string, { rows, more }: Page<R>, keyOf: (row: R) => Key): string | null => {
  const last = rows.at(-1)
  return more && last !== undefined ? cursorOf(list, keyOf(last)) : null
}

/** The page of rows of which one more than `limit` was asked for, to see whether others follow. */
export const pageOf = <R>(rows: readonly R[], limit: number): Page<R> => ({
  rows: rows.slice(0, limit),
  more: rows.length > limit,
})

/** Keys of lists in the order of one name or id, or of one number. */
export const TEXT_KEY = v.strictTuple([v.string()])
export const COUNT_KEY = v.strictTuple([v.pipe(v.number(), v.safeInteger(), v.minValue(0))])
