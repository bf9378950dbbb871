// Drills of restore points: copies of machines that were started from them, with what was seen of it.
import type { Drill } from '../../../protocol/drills.ts'
import type { Result } from '../../../protocol/methods.ts'
import type { Link } from '../net/link.ts'
import { Resource } from '../net/resource.ts'

/** How often those of a point are asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 30_000

/** The drills of a point that are kept, newest first. */
export const drillsOf = (link: Link, point: string): Resource<readonly Drill[]> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => (await link.call('drills.list', { point }, { signal })).drills,
  })

/** One drill with its picture and the end of its serial console; neither changes. */
export const drillOf = (link: Link, drill: string): Resource<Result<'drills.get'>> =>
  new Resource({ link, everyMs: null, read: (signal) => link.call('drills.get', { drill }, { signal }) })
