// Text tables for people: aligned columns under a heading.

/** The heading and the rows as lines, columns two spaces apart. */
export const tableLines = (heading: readonly string[], rows: readonly (readonly string[])[]): string[] => {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  )
  return [heading, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
