// Which restore point a command means: the one whose id begins so, or with --at a machine's newest one at a time.
import { InvalidArgumentError, Option } from 'commander'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { momentOf, type Moment } from '../../protocol/host/moment.ts'
import { newestAt } from '../../protocol/host/point-at.ts'
import { idPrefix, name } from '../../protocol/schemas.ts'
import type { Remote } from './remote.ts'

/** What the argument of these commands is. */
export const POINT = 'the id that "points" shows, or its beginning; with --at the name of a machine'

const moment = (text: string): Moment => {
  try {
    return momentOf(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

export const atOption = (): Option =>
  new Option(
    '--at <time>',
    'the newest point of the machine at or before then, such as "2026-11-28 14:00" (of this host), 2026-11-28T14:00Z, 90m (ago) or now',
  ).argParser(moment)

/** The argument as the gateway takes it; PARAMS_INVALID unless it is a point, or with a time a machine. */
export const namedPoint = (text: string, at: Moment | undefined): string => {
  const checked = v.safeParse(at === undefined ? idPrefix : name, text)
  if (checked.success) return checked.output
  const why =
    at === undefined
      ? 'is not the id of a restore point or its first 4 or more characters: "points" shows it; a machine\'s name goes with --at TIME'
      : 'is not the name of a machine, which --at goes with'
  throw new VarveError('PARAMS_INVALID', `"${text}" ${why}`)
}

/** The point that an argument and --at mean; NOT_FOUND where the machine has none by then. */
export const pointFor = async ({ peer, signal }: Remote, named: string, at: Moment | undefined): Promise<string> =>
  at === undefined ? named : (await newestAt((asked) => peer.call('points.list', asked, { signal }), named, at)).id
