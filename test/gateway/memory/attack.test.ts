// What hostile clients cost a real gateway: its memory, as the system sees it, stays within a bound, and another tenant's
// calls go on.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { memory } from '../../attack/memory.ts'
import { AttackedGateway, residentBytes } from '../../attack/stage.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'

const MIB = 1024 * 1024

/** Of the gateway's JavaScript heap, small enough for what is taken there without bounds to end it. */
const HEAP_MB = 256

/** What `serve --memory` says. */
const MEMORY_BYTES = 128 * MIB

/** What else an attack may cost: buffers of the system's sockets, and garbage that the collector has not come to. */
const SLACK_BYTES = 128 * MIB

/** How long each attack goes on, in milliseconds. */
const ATTACK_MS = 2500

let folder: TempFolder
let gateway: AttackedGateway
let neighbour: Peer

beforeAll(async () => {
  folder = await tempFolder()
  const options = ['--memory', `${MEMORY_BYTES / MIB}M`]
  gateway = await AttackedGateway.start(folder.path, { heapMb: HEAP_MB, options })
  const identity = await gateway.enrol(await gateway.addTenant('neighbour'), folder.join('neighbour'))
  neighbour = await gateway.connect(await identity.assertion(Date.now()), true)
})

afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const resident = async (): Promise<number> => {
  const bytes = await residentBytes(gateway.pid)
  if (bytes === null) throw new Error(`the gateway died: ${await gateway.log()}`)
  return bytes
}

/** The most memory that was seen until the work ended, another tenant calling all the while. */
const peakDuring = async (work: Promise<unknown>): Promise<number> => {
  let over = false
  const ended = work.finally(() => (over = true))
  let peak = 0
  while (!over) {
    peak = Math.max(peak, await resident())
    await neighbour.call('machines.list', {})
  }
  await ended
  return peak
}

test.each(memory.map((scenario) => [scenario.title, scenario] as const))('%s', async (_, scenario) => {
  await using stage = await gateway.stage(scenario.name, () => {})
  const attack = await scenario.prepare(stage)
  const before = await resident()
  const peak = await peakDuring(attack(AbortSignal.timeout(ATTACK_MS)))
  expect((peak - before) / MIB).toBeLessThan((MEMORY_BYTES + SLACK_BYTES) / MIB)
  await stage[Symbol.asyncDispose]()
  // what was held for sessions that are gone is free: another tenant begins and ends its work
  await eventually(async () => (await neighbour.call('jobs.list', { machine: null, limit: 1 })).jobs.length === 0)
})
