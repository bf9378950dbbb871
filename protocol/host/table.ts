// Text tables for people: aligned columns under a heading.

type Rows = readonly (readonly string[])[]

/**
 * A table whose rows come in pages: gives the lines of each page, the heading before the first; columns, two spaces
 * apart, are as wide as that one needs, or wider.
 */
export const tablePages = (heading: readonly string[]): ((rows: Rows) => string[]) => {
  const widths = heading.map(({ length }) => length)
  let begun = false
  return (rows) => {
    const lines = begun ? rows : [heading, ...rows]
    begun = true
    for (const [column, width] of widths.entries())
      widths[column] = Math.max(width, ...rows.map((row) => (row[column] ?? '').length))
    return lines.map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  }
}

/** The heading and all rows as lines. */
export const tableLines = (heading: readonly string[], rows: Rows): string[] => tablePages(heading)(rows)
