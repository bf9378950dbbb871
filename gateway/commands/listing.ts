// Lists that arrive in pages and are printed at once: a table for people, rows of one list with --json.
import { print, printRows } from '../../protocol/host/output.ts'
import { tablePages } from '../../protocol/host/table.ts'

export interface Listing<P, R> {
  /** Of the document. */
  readonly field: string
  readonly rowsOf: (page: P) => readonly R[]
  readonly heading: readonly string[]
  readonly cells: (row: R) => readonly string[]
  /** What is printed for an empty list. */
  readonly none: string
}

export interface ListOptions {
  readonly json: boolean
  /** Most rows that are printed. */
  readonly limit?: number
}

/** Prints a whole list: `ask` fetches the page behind a cursor. */
export const printList = async <P extends { readonly next: string | null }, R extends object>(
  { json, limit = Number.POSITIVE_INFINITY }: ListOptions,
  ask: (after: string | null) => Promise<P>,
  { field, rowsOf, heading, cells, none }: Listing<P, R>,
): Promise<void> => {
  const lines = tablePages(heading)
  let count = 0
  let after: string | null = null
  printRows(field, [])
  do {
    const page: P = await ask(after)
    const rows = rowsOf(page).slice(0, limit - count)
    count += rows.length
    if (json) printRows(field, rows)
    else if (rows.length > 0) lines(rows.map(cells)).forEach(print)
    after = count < limit ? page.next : null
  } while (after !== null)
  if (count === 0 && !json) print(none)
}
