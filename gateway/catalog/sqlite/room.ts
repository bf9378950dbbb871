// The catalog's own room: free pages in it and length of its log, so that small writes need nothing of a full disk.
import { read, spare } from './operation.ts'
import type { Sql } from './sql.ts'

/** The setting that takes the room for a moment. */
const ROOM_SETTING = 'room'

export const roomOperations = {
  /** Bytes of the catalog's free pages. */
  'room.free': read((sql: Sql, _: Record<string, never>): number => {
    const { pages } = sql.get<{ pages: number }>('SELECT freelist_count AS pages FROM pragma_freelist_count')!
    const { bytes } = sql.get<{ bytes: number }>('SELECT page_size AS bytes FROM pragma_page_size')!
    return pages * bytes
  }),

  /** Makes catalog and log longer by so many bytes, as a value that 'room.leave' lets go. STORE_FULL, and the ballast is left alone. */
  'room.take': spare((sql: Sql, { bytes }: { bytes: number }): void => {
    sql.run('INSERT OR REPLACE INTO setting (name, value) VALUES (?, hex(zeroblob(?)))', ROOM_SETTING, bytes >> 1)
  }),

  /** Lets go of what was taken: its pages stay in the catalog, free for whatever is written next. */
  'room.leave': spare((sql: Sql, _: Record<string, never>): void => {
    sql.run('DELETE FROM setting WHERE name = ?', ROOM_SETTING)
  }),
}
