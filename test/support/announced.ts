// Machines as an agent announces them, where a test does not care for more than their names.
import type { Params } from '../../protocol/methods.ts'

type Announced = Params<'agent.inventory'>['machines'][number]

/** One machine that runs there, without a uuid. */
export const announced = (name: string, rest: Partial<Announced> = {}): Announced => ({
  name,
  uuid: null,
  here: true,
  ...rest,
})
