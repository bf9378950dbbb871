// The teardown planner: it ends, in order, and names nothing that is not the lease's own.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LeaseOutcome } from '../../../../agent/drivers/driver.ts'
import type { Inventory } from '../../../../agent/drivers/qmp/inventory.ts'
import { leaseTarget, nextTeardown, tearDown, type TeardownCommand } from '../../../../agent/drivers/qmp/teardown.ts'
import type { QmpCaller } from '../../../../agent/qmp/client.ts'
import { exampleEntry } from '../../../support/journal-entry.ts'
import { tempFolder } from '../../../support/temp.ts'

const entry = exampleEntry()
const bitmap = { count: 0, granularity: 65_536, recording: true, busy: false, persistent: true, inconsistent: false }

const ours = {
  exports: entry.disks.map(({ exportId }) => exportId),
  jobs: entry.disks.map(({ job }) => job),
  nodes: entry.disks.map(({ scratchNode }) => scratchNode),
}

const nodeOf = (node: string, names: readonly string[]) => ({
  node,
  driver: 'qcow2',
  readOnly: false,
  size: 1,
  fileName: '',
  persistentBitmaps: true,
  dataFile: null,
  clusterBytes: null,
  bitmaps: names.map((name) => ({ ...bitmap, name })),
})

/** The checkpoint of this lease, and the one that it continued, which an older agent made. */
const fresh = entry.disks.map(({ checkpoint }) => checkpoint)
const old = ['varve-c0ffee42-cp-base-1', 'varve-c0ffee42-size-base-1']

const someOf = (names: readonly string[]) => fc.subarray([...names])

const inventories = fc.record({
  exports: someOf([...ours.exports, 'their-export']).map((ids) => ids.map((id) => ({ id, type: 'nbd' }))),
  jobs: fc
    .tuple(someOf([...ours.jobs, 'their-job']), fc.constantFrom('running', 'concluded'))
    .map(([ids, status]) => ids.map((id) => ({ id, status }))),
  nodes: fc
    .tuple(
      someOf(ours.nodes),
      someOf([...fresh, ...old, 'varve-c0ffee42-cp-kept-0', 'varve-c0ffee42-size-kept-0', 'theirs']),
    )
    .map(([scratch, names]) => [
      ...scratch.map((node) => nodeOf(node, [])),
      nodeOf('node0', names),
      nodeOf('their-node', ['theirs']),
    ]),
})

const without = <T extends { readonly id: string }>(list: readonly T[], id: unknown): readonly T[] =>
  list.filter((each) => each.id !== id)

/** What QEMU would have left after a command. */
const apply = (state: { inventory: Inventory; serves: boolean }, { command, args }: TeardownCommand) => {
  const { inventory } = state
  switch (command) {
    case 'block-export-del':
      return { ...state, inventory: { ...inventory, exports: without(inventory.exports, args['id']) } }
    case 'nbd-server-stop':
      return { ...state, serves: false }
    case 'job-dismiss':
    case 'block-job-cancel':
      return { ...state, inventory: { ...inventory, jobs: without(inventory.jobs, args['id'] ?? args['device']) } }
    case 'blockdev-del':
      return {
        ...state,
        inventory: { ...inventory, nodes: inventory.nodes.filter(({ node }) => node !== args['node-name']) },
      }
    default: {
      const nodes = inventory.nodes.map((each) =>
        each.node === args['node']
          ? { ...each, bitmaps: each.bitmaps.filter(({ name }) => name !== args['name']) }
          : each,
      )
      return { ...state, inventory: { ...inventory, nodes } }
    }
  }
}

const bitmapsOf = (of: Inventory): string[] =>
  of.nodes.flatMap((each) => each.bitmaps.map(({ name }) => `${each.node}/${name}`))

test('whatever is left, it ends, and foreign things are as before', () => {
  fc.assert(
    fc.property(
      inventories,
      fc.boolean(),
      fc.constantFrom('committed' as const, 'failed' as const),
      (inventory, serves, outcome) => {
        const keep = new Set(['kept'])
        let state: { inventory: Inventory; serves: boolean } = { inventory, serves }
        let commands: readonly TeardownCommand[] = []
        for (let round = 0; round < 6; round += 1) {
          commands = nextTeardown(leaseTarget(entry, outcome, keep), state.inventory, state.serves)
          state = commands.reduce(apply, state)
        }
        expect(commands).toEqual([])
        const gone = (outcome === 'committed' ? old : fresh).map((name) => `node0/${name}`)
        expect(state.inventory.exports).toEqual(inventory.exports.filter(({ id }) => id === 'their-export'))
        expect(state.inventory.jobs).toEqual(inventory.jobs.filter(({ id }) => id === 'their-job'))
        expect(state.inventory.nodes.map(({ node }) => node)).toEqual(['node0', 'their-node'])
        expect(bitmapsOf(state.inventory)).toEqual(bitmapsOf(inventory).filter((name) => !gone.includes(name)))
        // a server that serves others too stays
        expect(state.serves).toBe(serves && inventory.exports.some(({ id }) => id === 'their-export'))
      },
    ),
  )
})

test('after a commit the base’s bitmaps go whoever made them, with others of that agent and of no third one', () => {
  const theirs = ['varve-0badcafe-cp-base-1', 'varve-0badcafe-size-base-1', 'varve-0badcafe-cp-lost-1']
  const others = ['varve-deadbeef-cp-base-1']
  const nodes = [nodeOf('node1', [...fresh, ...theirs, ...others])]
  const left = (of: typeof entry, outcome: LeaseOutcome, kept: readonly string[] = []): string[] =>
    leaseTarget(of, outcome, new Set(kept))
      .bitmaps(nodes)
      .map(({ name }) => name)
  const moved = { ...entry, baseAgent: '0192aaaa-0000-7000-8000-00000badcafe' }
  expect(left(moved, 'committed')).toEqual(theirs)
  expect(left(moved, 'committed', ['base'])).toEqual([])
  expect(left(moved, 'committed', ['lost'])).toEqual(theirs.slice(0, 2))
  expect(left({ ...moved, baseLease: null }, 'committed')).toEqual([])
  expect(left({ ...moved, baseAgent: null }, 'committed')).toEqual([])
  expect(left(moved, 'failed')).toEqual(fresh)
})

test('a client that never leaves keeps the server only as long as it may still be shaking hands', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('nbd')
  const clients: Socket[] = []
  const server = createServer((socket) => void clients.push(socket)).listen(socketPath)
  await once(server, 'listening')
  const client = connect({ path: socketPath })
  await once(client, 'connect')
  let stoppedMs: number | null = null
  const qemu: QmpCaller = {
    version: { major: 7, minor: 2, micro: 0 },
    closed: new Promise(() => {}),
    subscribe: () => () => {},
    execute: async (command) => {
      if (command !== 'nbd-server-stop') return []
      stoppedMs = performance.now()
      for (const one of clients) one.destroy()
      server.close()
      await once(server, 'close')
      return {}
    },
  }
  const startMs = performance.now()
  const none = new Set<string>()
  const target = { exports: none, jobs: none, nodes: none, socketPath, bitmaps: () => [] }
  await tearDown(qemu, target, undefined, 200)
  expect(stoppedMs! - startMs).toBeGreaterThanOrEqual(200)
  client.destroy()
})
