// Reads a list that comes page by page to its end.

/** All rows of a list: `ask` gets a page behind a cursor, `rowsOf` its rows. */
export const everyRow = async <P extends { readonly next: string | null }, R>(
  ask: (after: string | null) => Promise<P>,
  rowsOf: (page: P) => readonly R[],
): Promise<R[]> => {
  const rows: R[] = []
  let after: string | null = null
  do {
    const page: P = await ask(after)
    rows.push(...rowsOf(page))
    after = page.next
  } while (after !== null)
  return rows
}
