// Columns that are 0 or 1 in the tables are booleans in the catalog's interface.

type FlagOf<R> = { [K in keyof R]-?: R[K] extends boolean ? K : never }[keyof R]

/** A row as the tables have it. */
export type Flagged<R> = Omit<R, FlagOf<R>> & { readonly [K in FlagOf<R>]: number }

/** Makes rows of what the tables have, these columns being flags: all that the row has. */
export const withFlags =
  <R extends object>(...flags: readonly FlagOf<R>[]) =>
  (found: Flagged<R>): R => {
    const row = { ...found } as unknown as Record<FlagOf<R>, unknown>
    for (const flag of flags) row[flag] = row[flag] !== 0
    return row as R
  }
