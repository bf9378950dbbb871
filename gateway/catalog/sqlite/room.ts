// The catalog's own room: free pages in it and length of its log, so that small writes succeed on a full disk.
import { read, spare, type Operations } from './operation.ts'

/** The setting whose value occupies the room for a moment. */
const ROOM_SETTING = 'room'

export const roomOperations = {
  'room.free': read((sql) => {
    const { pages } = sql.get<{ pages: number }>('SELECT freelist_count AS pages FROM pragma_freelist_count')!
    const { bytes } = sql.get<{ bytes: number }>('SELECT page_size AS bytes FROM pragma_page_size')!
    // pages that are in the log alone still need space
    return Math.max(0, pages * bytes - sql.unwrittenBytes)
  }),

  'room.take': spare((sql, { bytes }) => {
    sql.run('INSERT OR REPLACE INTO setting (name, value) VALUES (?, hex(zeroblob(?)))', ROOM_SETTING, bytes >> 1)
  }),

  'room.leave': spare((sql) => {
    sql.run('DELETE FROM setting WHERE name = ?', ROOM_SETTING)
  }),
} satisfies Partial<Operations>
