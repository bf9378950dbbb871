// Which restore point a command means: the one whose id begins so, or with --at a machine's newest one at a time.
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { utcText } from '../../protocol/host/instant.ts'
import { remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Result } from '../../protocol/methods.ts'
import { idPrefix, name as nameSchema, type Point } from '../../protocol/schemas.ts'
import type { CommandContext } from './context.ts'
import { NOW, type Moment } from './moment.ts'
import { unknownMachine } from './unknown-machine.ts'

/** Restore points asked for at once: a page of machines with many disks must still fit a frame. */
export const PAGE_POINTS = 100

/** PARAMS_INVALID for an argument that is no point's id; with `at` it names a machine. */
export const checkPoint = (named: string, at: Moment | undefined): void => {
  if (at !== undefined || v.safeParse(idPrefix, named).success) return
  throw new VarveError(
    'PARAMS_INVALID',
    `"${named}" is not the id of a restore point or its first 4 or more characters: "points" lists them; a machine's name goes with --at TIME`,
  )
}

const shownAt = (at: Moment): string => (at === NOW ? '' : ` at or before ${utcText(at)} UTC`)

const shown = ({ id, timeMs }: Point): string => `${id.slice(0, 8)} of ${utcText(timeMs)} UTC`

/** NOT_FOUND with the oldest point that there is. */
const noneAt = (machine: string, at: Moment, oldest: Point | undefined): VarveError => {
  const has = oldest === undefined ? 'it has none' : `its oldest is ${shown(oldest)}`
  return new VarveError('NOT_FOUND', `there is no restore point of ${machine}${shownAt(at)}: ${has}`)
}

/** Pages of a machine's points, newest first; of a machine that the gateway does not know, why. */
async function* pagesOf(
  context: CommandContext,
  machine: string,
  untilMs: number | null,
): AsyncGenerator<readonly Point[], void> {
  let after: string | null = null
  do {
    const asked = { machine, untilMs, after, limit: PAGE_POINTS }
    const page: Result<'points.list'> = await context.ask('points.list', asked).catch(async (thrown: unknown) => {
      throw asVarveError(thrown).code === 'NOT_FOUND' ? await unknownMachine(context, machine) : thrown
    })
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
export const pointAt = async (context: CommandContext, machine: string, at: Moment): Promise<Point> => {
  if (!v.is(nameSchema, machine)) throw await unknownMachine(context, machine)
  let passed = 0
  for await (const page of pagesOf(context, machine, at === NOW ? null : at)) {
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
  for await (const page of pagesOf(context, machine, null)) oldest = page.at(-1) ?? oldest
  throw noneAt(machine, at, oldest)
}

/** The point that a command's argument and --at mean, with all that the gateway has of it. */
export const findPoint = async (
  context: CommandContext,
  named: string,
  at: Moment | undefined,
): Promise<Result<'points.get'>> => {
  const point = at === undefined ? named : (await pointAt(context, named, at)).id
  return await context.ask('points.get', { point })
}
