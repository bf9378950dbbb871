// Which restore point a command means: the one whose id begins so, or with --at a machine's newest one at a time.
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import { newestAt, type PointPages } from '../../protocol/host/point-at.ts'
import type { Result } from '../../protocol/methods.ts'
import { idPrefix, name as nameSchema, type Point } from '../../protocol/schemas.ts'
import type { CommandContext } from './context.ts'
import { unknownMachine } from './unknown-machine.ts'

/** PARAMS_INVALID for an argument that is no point's id; with `at` it names a machine. */
export const checkPoint = (named: string, at: Moment | undefined): void => {
  if (at !== undefined || v.safeParse(idPrefix, named).success) return
  throw new VarveError(
    'PARAMS_INVALID',
    `"${named}" is not the id of a restore point or its first 4 or more characters: "points" lists them; a machine's name goes with --at TIME`,
  )
}

/** The newest point of a machine at or before a time; of a machine that the gateway does not know, why. */
export const pointAt = async (context: CommandContext, machine: string, at: Moment): Promise<Point> => {
  if (!v.is(nameSchema, machine)) throw await unknownMachine(context, machine)
  const pages: PointPages = async (asked) => {
    try {
      return await context.ask('points.list', asked)
    } catch (thrown) {
      throw asVarveError(thrown).code === 'NOT_FOUND' ? await unknownMachine(context, machine) : thrown
    }
  }
  return await newestAt(pages, machine, at)
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
