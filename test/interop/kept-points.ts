// The restore points of a random history: each holds the disks as they were, and none of them is ever missing.
import { expect } from 'vitest'
import { asVarveError } from '../../protocol/errors.ts'
import type { Snapshot } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

export class KeptPoints {
  readonly #stand: Stand
  /** What each holds, the oldest first. */
  readonly #models = new Map<string, Snapshot>()

  constructor(stand: Stand) {
    this.#stand = stand
  }

  get count(): number {
    return this.#models.size
  }

  /** The newest one. */
  get last(): string | undefined {
    return [...this.#models.keys()].at(-1)
  }

  /** A new one, which has to hold this. */
  async add(point: string, model: Snapshot): Promise<void> {
    expectDisks(await this.#stand.restore(point), model, point)
    this.#models.set(point, model)
  }

  /** The gateway lists these and no other, once its connection is back. */
  async expectListed(): Promise<void> {
    const listed = await eventually(async () => {
      try {
        return (await this.#stand.listPoints()).map(({ id }) => id)
      } catch (thrown) {
        if (asVarveError(thrown).endsConnection) return null
        throw thrown
      }
    })
    expect(listed).toEqual([...this.#models.keys()].toReversed())
  }

  /** Every one holds what it held. */
  async expectKept(): Promise<void> {
    for (const [point, model] of this.#models) expectDisks(await this.#stand.restore(point), model, point)
  }
}
