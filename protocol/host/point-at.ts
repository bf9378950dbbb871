// The restore point that a time means: a machine's newest one by then, and what a person is told of it.
import { VarveError } from '../errors.ts'
import type { Asked, Result } from '../methods.ts'
import type { Point } from '../schemas.ts'
import { utcText } from './instant.ts'
import { NOW, type Moment } from './moment.ts'
import { remark } from './output.ts'
import { sizeText } from './size.ts'

/** Restore points asked for at once: a page of machines with many disks must still fit a frame. */
export const PAGE_POINTS = 100

/** Asks for a page of a machine's points. */
export type PointPages = (asked: Asked<'points.list'>) => Promise<Result<'points.list'>>

const shownAt = (at: Moment): string => (at === NOW ? '' : ` at or before ${utcText(at)} UTC`)

const shown = ({ id, timeMs }: Point): string => `${id.slice(0, 8)} of ${utcText(timeMs)} UTC`

/** NOT_FOUND with the oldest point that there is. */
const noneAt = (machine: string, at: Moment, oldest: Point | undefined): VarveError => {
  const has = oldest === undefined ? 'it has none' : `its oldest is ${shown(oldest)}`
  return new VarveError('NOT_FOUND', `there is no restore point of ${machine}${shownAt(at)}: ${has}`)
}

/** Pages of a machine's points, newest first. */
async function* pagesOf(
  ask: PointPages,
  machine: string,
  untilMs: number | null,
): AsyncGenerator<readonly Point[], void> {
  let after: string | null = null
  do {
    const page: Result<'points.list'> = await ask({ machine, untilMs, after, limit: PAGE_POINTS })
    yield page.points
    after = page.next
  } while (after !== null)
}

/** What a person should know of a point that a time has chosen; `others` are the next older ones. */
const tellOf = (chosen: Point, passed: number, others: readonly Point[]): void => {
  if (passed > 0)
    remark(
      `${passed} newer restore ${passed === 1 ? 'point is' : 'points are'} dated in the future, by a clock that was wrong, and passed over: name one by its id to have it`,
    )
  if (chosen.lostBytes === 0) return
  const whole = others.find(({ lostBytes }) => lostBytes === 0)
  const next = whole === undefined ? '' : `; the newest whole one before it is ${shown(whole)}`
  remark(`${sizeText(chosen.lostBytes)} of this point are known to be lost${next}`)
}

/** The newest point of a machine at or before a time that is not dated in the future; NOT_FOUND names the oldest. */
export const newestAt = async (ask: PointPages, machine: string, at: Moment): Promise<Point> => {
  let passed = 0
  for await (const page of pagesOf(ask, machine, at === NOW ? null : at)) {
    // a gateway of an older version sends newer ones, too
    const fitting = at === NOW ? page : page.filter(({ timeMs }) => timeMs <= at)
    const [chosen, ...others] = fitting.filter(({ future }) => !future)
    passed += fitting.filter(({ future }) => future).length
    if (chosen === undefined) continue
    remark(`point ${shown(chosen)} is the newest of ${machine}${shownAt(at)}`)
    tellOf(chosen, passed, others)
    return chosen
  }
  let oldest: Point | undefined
  for await (const page of pagesOf(ask, machine, null)) oldest = page.at(-1) ?? oldest
  throw noneAt(machine, at, oldest)
}
