// What every increment asks the gateway about its base, asked while the lease begins: the way there costs no time then.
import { chunkCount } from '../protocol/chunk.ts'
import type { Params, Result } from '../protocol/methods.ts'
import { CONTENT_CHUNKS_FIRST } from './image/compare.ts'
import type { GatewayLink } from './session/link.ts'

/** Disks that are asked about ahead. */
const DISKS_MAX = 16

type Content = Result<'image.content'>
type Asked = Omit<Params<'image.content'>, 'job'>

/** Asks for the last chunks of an image of the base. */
export type BaseContent = (asked: Asked) => Promise<Content>

export interface ContentUses {
  readonly link: () => Pick<GatewayLink, 'call'>
  readonly signal: AbortSignal
  readonly awayMs: number
}

/** The question of a job, without an answer ahead. */
export const contentOf =
  (job: string, { link, signal, awayMs }: ContentUses): BaseContent =>
  (asked) =>
    link().call('image.content', { job, ...asked }, signal, awayMs)

/** The same for a backup that is about to begin: the first questions of its disks are on their way at once. */
export const contentAhead = (
  { job, full, compare, base, chunkBytes }: Params<'agent.backup'>,
  uses: ContentUses,
): BaseContent => {
  const ask = contentOf(job, uses)
  if (full || compare || base === null || base.checkpoint === null) return ask
  const continued = base.disks.filter(({ reread, missed }) => reread !== null && !missed)
  const ahead = new Map(
    continued.slice(0, DISKS_MAX).map(({ name, size }) => {
      const first = { disk: name, before: chunkCount(size, chunkBytes), limit: CONTENT_CHUNKS_FIRST }
      // one that fails is asked again
      return [name, { ...first, answer: ask(first).catch(() => null) }] as const
    }),
  )
  return async (asked) => {
    const first = ahead.get(asked.disk)
    const isIt = first !== undefined && first.before === asked.before && first.limit === asked.limit
    return (isIt ? await first.answer : null) ?? (await ask(asked))
  }
}
