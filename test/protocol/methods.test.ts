// The table of methods: whole, the same as PROTOCOL.md's, and its schemas refuse wrong types.
import { readFileSync } from 'node:fs'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { ROLES } from '../../protocol/claims.ts'
import { FRAME_BYTES_MAX } from '../../protocol/limits.ts'
import { isAct } from '../../protocol/method.ts'
import { isMethod, METHODS, methodOf, type MethodName } from '../../protocol/methods.ts'
import { drillOutcome, drillPicture } from '../support/drill.ts'
import { chunksMessage, rawChunk, zstdChunk } from './wire-chunks.ts'

const names = Object.keys(METHODS) as MethodName[]

const allowed = (role: 'agent' | 'platform'): string[] => names.filter((name) => methodOf(name).roles.includes(role))

const byName = (a: { name?: string | undefined }, b: { name?: string | undefined }): number =>
  (a.name ?? '') < (b.name ?? '') ? -1 : 1

test('every method of the gateway has roles, methods of agents have none', () => {
  for (const name of names) {
    const { servedBy, roles } = methodOf(name)
    expect(roles.length > 0, name).toBe(servedBy === 'gateway')
    expect(new Set(roles).size, name).toBe(roles.length)
    for (const role of roles) expect(ROLES).toContain(role)
  }
})

test('names are unique whatever their case, and safe to write anywhere', () => {
  expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(names.length)
  for (const name of names) expect(name).toMatch(/^[a-z]+\.[a-zA-Z]+$/u)
})

test('an act leaves an entry in the audit log: where a dry run only looks, the parameters decide', () => {
  expect(isAct({ audited: true }, { dryRun: true })).toBe(true)
  expect(isAct({ audited: false }, { dryRun: false })).toBe(false)
  for (const [params, act] of [
    [{ dryRun: true }, false],
    [{ dryRun: false }, true],
    [{}, true],
  ] as const)
    expect(isAct({ audited: 'unless dryRun' }, params)).toBe(act)
  const dry = names.filter((name) => 'dryRun' in (Reflect.get(methodOf(name).params, 'entries') as object))
  expect(names.filter((name) => methodOf(name).audited === 'unless dryRun')).toEqual(dry)
  // a viewer only looks
  const looking = names.filter((name) => methodOf(name).audited !== false && methodOf(name).roles.includes('viewer'))
  expect(looking).toEqual([])
})

test('only own names of the table are methods', () => {
  for (const name of names) expect(isMethod(name)).toBe(true)
  for (const name of ['', 'toString', '__proto__', 'constructor', 'machines.List', 'machines'])
    expect(isMethod(name)).toBe(false)
})

test('an agent and the platform may neither delete nor change what is not theirs', () => {
  expect(
    allowed('platform').filter((name) => !/^(tenants|tokens|login|enrolments|keys|audit|notify|runs)\b/u.test(name)),
  ).toEqual(['store.growth', 'store.forecast', 'store.checkFolder', 'coverage.tenants', 'events.list', 'events.watch'])
  const changing = allowed('agent').filter(
    (name) =>
      !/^(agent|agents\.rotateKey|backup|session|image|machines\.(checkpoints|list|status|forget|lease|renewLease|endLease|targets|removeTarget)|jobs|points|drills)\b/u.test(
        name,
      ),
  )
  expect(changing).toEqual([])
})

test('a message fits into its stream: a window is at least a frame where messages carry chunks', () => {
  for (const name of ['image.upload', 'image.download', 'image.read'] as const) {
    const { up, down } = methodOf(name)
    const windows = [up, down].flatMap((stream) => (stream === null ? [] : [stream.windowBytes]))
    expect(Math.max(...windows)).toBeGreaterThanOrEqual(FRAME_BYTES_MAX)
  }
})

test('PROTOCOL.md names the methods that are only for the connection that serves', () => {
  const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
  const sentence = /speaks of their\nbackups\. (.*?) are `NOT_SERVING`/su.exec(page)?.[1] ?? ''
  const written = [...sentence.matchAll(/`([a-z.A-Z]+)`/gu)].map(([, name]) => name)
  expect(written).toEqual(names.filter((name) => methodOf(name).serving))
  expect(written.length).toBeGreaterThan(0)
  // people's methods go on every connection
  for (const name of names) if (methodOf(name).serving) expect(methodOf(name).roles).toEqual(['agent'])
})

test('PROTOCOL.md lists every method with its side, roles and streams', () => {
  const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| `(\w+\.\w+)` +\| (gateway|agent) +\|([^|]*)\|([^|]*)\|/gmu)].map(
    ([, name, servedBy, roles = '', streams = '']) => ({
      name,
      servedBy,
      roles: roles.trim(),
      streams: streams.trim(),
    }),
  )
  const meant = names.map((name) => {
    const { servedBy, roles, up, down } = methodOf(name)
    const streams = [up === null ? [] : ['up'], down === null ? [] : ['down']].flat().join(', ')
    return { name, servedBy, roles: roles.join(', '), streams }
  })
  expect(rows.toSorted(byName)).toEqual(meant.toSorted(byName))
})

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const ID = new Uint8Array(32).fill(1)
const policy = {
  consistency: 'freeze',
  refuseFull: ['bitmap-missing'],
  refuseLeftOut: ['unplugged'],
  compareDays: 30,
}
const readDisk = { name: 'vda', size: 1 << 20, kind: 'full', reason: 'first' }
const leftOut = [{ name: 'cd', reason: 'read-only' }]
const missing = [{ name: 'nvram', reason: 'there is no such file' }]
const job = {
  id: UUID,
  machine: 'db1',
  agent: UUID,
  online: true,
  state: 'running',
  phase: 'reading',
  limit: 'link',
  resumes: 1,
  resumedMs: 1,
  subject: 'ada',
  startedMs: 1,
  endedMs: null,
  released: false,
  bytesSent: 0,
  comparedBytes: 0,
  disks: [{ ...readDisk, doneBytes: 0 }],
  error: null,
}
const point = {
  id: UUID,
  machine: 'db1',
  timeMs: 1,
  future: false,
  kind: 'full',
  reason: 'first',
  consistency: 'frozen',
  note: null,
  base: null,
  bytesRead: 1,
  bytesSent: 1,
  bytesStored: 1,
  durationMs: 1,
  took: { frozenMs: 1, scratch: { usedBytes: 1, limitBytes: null }, steps: [{ step: 'lease', tookMs: 1 }] },
  held: false,
  lockedUntilMs: 1,
  usedUntilMs: 1,
  verifiedMs: 1,
  lostBytes: 0,
  attachments: [{ name: 'swtpm/state', size: 5, root: null }],
  missingAttachments: 1,
  drill: { id: UUID, verdict: 'passed', addedMs: 5 },
  leftOut,
  disks: [{ ...readDisk, changedBytes: 1, comparedChunks: 1, root: ID }],
}
const OUTCOME = drillOutcome()
const PICTURE = drillPicture()
const DRILL = {
  id: UUID,
  point: UUID,
  machine: 'db1',
  timeMs: 1,
  by: 'ada',
  addedMs: 2,
  ...OUTCOME,
  pictureBytes: PICTURE.length,
  logChars: 1,
}
const keep = { last: 1, hourly: 0, daily: 7, weekly: 4, monthly: 12, yearly: 1, withinDays: 1.5 }
const rules = { keep, timeZone: 'Europe/Berlin' }
const exclusion = { by: 'anna', reason: 'rebuilt', sinceMs: 1, untilMs: 9 }
const plan = {
  name: 'gold',
  enabled: true,
  schedule: '30 2 * * *',
  rpoMs: 14_400_000,
  timeZone: 'Europe/Berlin',
  window: '22:00-06:00',
  jitterMs: 600_000,
  ...policy,
  keep,
  lockDays: 3,
  verifyDays: 30,
  drillDays: 90,
  priority: 60,
  covers: { machines: ['db1'], groups: ['web'], patterns: ['db*'], others: true },
}
const progress = { phase: 'mark', done: 1, total: 2 }
const records = { records: 1, bytes: 1 }
const lost = { point: UUID, machine: 'db1', timeMs: 1, disk: 'vda', offset: 0, length: 65_536 }
const damaged = { id: '00', type: 'chunk', pack: UUID, offset: 48, reason: 'checksum', foundMs: 1 }
const status = {
  name: 'db1',
  reachable: true,
  runState: 'running',
  hypervisor: 'QEMU 7.2.0',
  lease: null,
  target: null,
  problem: null,
  disks: [{ name: 'vda', size: 1, format: 'raw' }],
  leftOut,
}
const agentLink = {
  program: 'varve-agent/0.1.0',
  sinceMs: 1,
  lagMs: 3,
  skewMs: -2,
  machines: 1,
  relay: { commands: ['query-*'], more: 1 },
}
const entry = {
  seq: 1,
  timeMs: 1,
  subject: 'a',
  role: 'owner',
  action: 'x',
  resource: '',
  outcome: 'ok',
  details: '{}',
}
const qmp = { params: { machine: 'db1', command: 'query-status', arguments: '{}' }, result: { value: '{}' } }
const event = { event: 'STOP', timeMs: 1, data: '{}' }
const forget = {
  params: { machine: 'db1', disk: 'vda' },
  result: {
    removed: [{ node: 'a', bitmap: 'varve-x' }],
    left: [{ node: 'b', bitmap: 'varve-y', file: 'b.qcow2', reason: 'no' }],
  },
}
const heldLease = {
  lease: UUID,
  machine: 'db1',
  target: 'veeam',
  timeMs: 1,
  consistency: 'paused',
  note: null,
  expiresMs: 2,
  base: { lease: UUID, timeMs: 0 },
  records: true,
  disks: [
    {
      name: 'vda',
      size: 512,
      kind: 'incremental',
      reason: 'bitmap',
      socket: '/run/x/nbd',
      exportName: 'vda',
      changed: 'c',
    },
  ],
  leftOut: [],
}
const ordered = { machine: 'db1', target: 'veeam', ttlMs: 60_000, full: false, consistency: 'pause' }
const leased = {
  renewLease: { params: { machine: 'db1', lease: UUID, ttlMs: 60_000 }, result: { expiresMs: 2 } },
  endLease: { params: { machine: 'db1', lease: UUID, success: true }, result: {} },
  targets: {
    params: { machine: 'db1' },
    result: {
      targets: [
        { target: 'veeam', last: { lease: UUID, timeMs: 1 }, held: { lease: UUID, expiresMs: 2 } },
        { target: 'own', last: null, held: null },
      ],
    },
  },
  removeTarget: { params: { machine: 'db1', target: 'veeam' }, result: {} },
} as const
const checkpoints = {
  checkpoints: [
    {
      name: 'varve-c0ffee42-cp-x',
      parent: null,
      point: UUID,
      own: true,
      timeMs: null,
      disks: [{ name: 'vda', bytes: 65_536, health: 'whole' }],
    },
    {
      name: 'theirs',
      parent: 'before',
      point: null,
      own: false,
      timeMs: 1,
      disks: [{ name: 'vda', bytes: null, health: 'unknown' }],
    },
  ],
  omitted: 0,
}
const machine = { machine: 'db1' }
const page = { after: 'a', limit: 1 }
const tenant = {
  name: 'acme',
  id: UUID,
  chunkBytes: 65_536,
  createdMs: 1,
  quota: { softBytes: 1, hardBytes: null },
  packBytes: 1,
}
const ofJob = { job: UUID }
const target = {
  name: 'mail',
  settings: {
    kind: 'smtp',
    host: 'mail.example',
    port: 587,
    security: 'starttls',
    insecure: false,
    user: null,
    from: 'varve@example.org',
    to: ['ann@example.org'],
    authority: null,
  },
  hourly: 30,
  secrets: 'set',
  set: ['password'],
  origin: null,
}
const noticeMatch = { kinds: ['job.failed'], severity: 'error', machines: ['db*'], groups: ['web'] }
const noticeRule = {
  match: { ...noticeMatch, all: [noticeMatch], any: [{ not: noticeMatch }], not: noticeMatch },
  targets: ['mail'],
  quiet: { window: '22:00-07:00', timeZone: 'UTC' },
  repeatMs: 3_600_000,
}
const mute = { id: UUID, by: 'ann', reason: 'work', match: noticeMatch, sinceMs: 1, untilMs: 2 }
const ping = { origin: 'https://a.example', everyMs: 60_000, answeredMs: null, error: null }

const covered = {
  machine: 'db1',
  group: null,
  agent: UUID,
  host: 'hv1',
  online: true,
  plan: 'nightly',
  state: 'late',
  reason: 'late by 2 h',
  sinceMs: 1,
  deadlineMs: 1,
  targetMs: 2,
  lastPointMs: 1,
  last: {
    id: UUID,
    timeMs: 1,
    kind: 'full',
    reason: 'first',
    consistency: 'crash',
    bytesRead: 1,
    bytesSent: 1,
    durationMs: 1,
  },
  lastVerifiedMs: null,
  lastError: { code: 'X', message: 'x' },
  nextMs: 2,
  exclusion: null,
}
const days = {
  days: 31,
  untilDay: '2026-11-29',
  zone: 'Europe/Berlin',
  contains: 'db',
  states: ['late'],
  order: 'worst',
}
const dayCell = {
  day: 1,
  points: 1,
  failed: 0,
  skipped: 2,
  skipReason: 'window',
  fullReason: 'size-changed',
  damaged: 0,
  verified: 1,
}
const counts = {
  fresh: 1,
  unverified: 0,
  late: 0,
  failing: 0,
  never: 0,
  uncovered: 0,
  orphaned: 0,
  archived: 0,
  excluded: 0,
}
const told = { daysLeft: 5, bytesPerDay: 1.5, reason: null }
const quota = { usedBytes: 1, softBytes: null, hardBytes: 2, soft: told, hard: told }
const proof = { verifiedMs: 1, oldestMs: null, unverified: 3, drilledMs: null }
const shownEvent = {
  seq: 1,
  timeMs: 1,
  kind: 'machine.state',
  severity: 'warning',
  tenant: 'acme',
  machine: 'db1',
  group: null,
  active: true,
  key: 'machine.state db1',
  text: 'db1 is late',
  data: {},
}

const PLACES = {
  folders: [{ path: '/srv', freeBytes: 5 }],
  devices: [{ path: '/dev/vg0/restore-*' }],
  places: [
    {
      to: '/srv/vda',
      path: '/srv/vda',
      there: 'file',
      thereBytes: 4,
      format: 'raw',
      freeBytes: 5,
      error: { code: 'TARGET_IN_USE', message: 'in use' },
    },
  ],
}
const RESTORE = {
  id: UUID,
  point: UUID,
  machine: 'db1',
  timeMs: 1,
  agent: UUID,
  host: 'h1',
  by: 'anna',
  overwrite: false,
  state: 'failed',
  startedMs: 1,
  endedMs: null,
  error: { code: 'TARGET_INVALID', message: 'full' },
  disks: [
    {
      disk: 'vda',
      size: 512,
      to: '/srv/vda',
      format: 'raw',
      how: 'onto',
      doneBytes: 1,
      bytesReceived: 2,
      differBytes: 3,
      writtenBytes: 2,
      remarks: ['other names'],
    },
  ],
}

/** Values that each method takes and gives; one message of each kind that its streams carry. */
const GOOD: { readonly [N in MethodName]: { params: object; result: object; up?: unknown[]; down?: unknown[] } } = {
  'session.renew': { params: { token: 'a.b.c' }, result: { expiresMs: 1 } },
  'tenants.list': { params: { tenant: 'acme', ...page }, result: { tenants: [tenant], next: 'b' } },
  'tenants.add': { params: { tenant: 'acme', chunkBytes: 65_536, firstPlan: true }, result: { tenant, plan } },
  'tenants.setQuota': { params: { tenant: 'acme', softBytes: 1, hardBytes: null }, result: { tenant } },
  'agents.list': {
    params: { enrolment: UUID, ...page },
    result: {
      agents: [
        {
          id: UUID,
          host: 'h',
          enrolledMs: 1,
          seenMs: null,
          revokedMs: null,
          online: true,
          site: 's1',
          link: agentLink,
        },
      ],
      next: 'b',
    },
  },
  'agents.revoke': { params: { agent: UUID }, result: { host: 'h', revokedMs: 1 } },
  'agents.setSite': { params: { agent: UUID, site: null }, result: { host: 'h', changed: true } },
  'agents.rotateKey': { params: { publicKey: 'x' }, result: {} },
  'tokens.issue': {
    params: { tenant: 'acme', subject: 'anna', role: 'owner', ttlMs: 1 },
    result: { token: 'a.b.c', id: UUID, expiresMs: 1 },
  },
  'login.issue': {
    params: { tenant: 'acme', subject: 'anna', role: 'owner', ttlMs: 1 },
    result: { code: 'abc', expiresMs: 1, address: 'https://a.example:8470/' },
  },
  'tokens.list': {
    params: { tenant: 'acme', ...page },
    result: {
      tokens: [{ id: UUID, subject: 'anna', role: 'owner', createdMs: 1, expiresMs: 2, revokedMs: null }],
      next: 'b',
    },
  },
  'tokens.revoke': { params: { token: UUID }, result: { subject: 'anna', revokedMs: 1 } },
  'enrolments.issue': {
    params: { tenant: 'acme', ttlMs: 1 },
    result: { token: 'a.b.c', id: UUID, expiresMs: 1, certificate: null },
  },
  'keys.list': { params: {}, result: { keys: [{ id: 'k', createdMs: 1, endsMs: null }] } },
  'keys.rotate': { params: {}, result: { key: 'k' } },
  'audit.list': {
    params: { newest: true, contains: 'db1', failed: true, ...page },
    result: { chain: { checkedMs: 1, whole: true }, entries: [entry], next: 'b' },
  },
  'audit.check': { params: {}, result: { entries: 1, brokenSeq: null }, down: [progress] },
  'machines.list': {
    params: { machine: 'db1', ...page },
    result: {
      next: 'b',
      machines: [
        {
          name: 'db1',
          uuid: UUID,
          site: null,
          agent: UUID,
          host: 'h',
          online: true,
          policy,
          group: 'web',
          plan: 'gold',
          exclusion,
          job: null,
          lastPoint: { id: UUID, timeMs: 1 },
        },
      ],
    },
  },
  'machines.status': { params: machine, result: { ...status, uuid: null, site: 's1' } },
  'machines.checkpoints': { params: machine, result: checkpoints },
  'machines.forget': forget,
  'machines.lease': { params: ordered, result: heldLease },
  'machines.renewLease': leased.renewLease,
  'machines.endLease': leased.endLease,
  'machines.targets': leased.targets,
  'machines.removeTarget': leased.removeTarget,
  'machines.setGroup': {
    params: { machine: 'db1', group: 'web' },
    result: { group: 'web', plan: 'gold', newGroup: true },
  },
  'machines.exclude': { params: { machine: 'db1', reason: 'rebuilt', untilMs: 9 }, result: { exclusion } },
  'machines.include': { params: machine, result: { changed: true } },
  'machines.assign': { params: { machine: 'db1', agent: UUID }, result: { changed: true } },
  'machines.qmp': qmp,
  'machines.events': { params: machine, result: {}, down: [event] },
  'backup.start': { params: { machine: 'db1', full: false, compare: true }, result: ofJob },
  'jobs.list': { params: { machine: null, running: true, ...page }, result: { jobs: [job], next: 'b' } },
  'jobs.watch': { params: ofJob, result: job, down: [job] },
  'jobs.cancel': { params: ofJob, result: {} },
  'points.list': { params: { machine: 'db1', ...page, untilMs: 9 }, result: { points: [point], next: 'b' } },
  'points.get': { params: { point: UUID.slice(0, 8) }, result: { point, configuration: '{}', missing } },
  'image.download': {
    params: { point: UUID, disk: 'vda', position: 0, skipDamaged: true },
    result: {},
    down: [
      [0, { size: 4, chunkBytes: 65_536, root: ID, idKey: ID, position: 0 }],
      [1, 9],
      [3, 9],
      chunksMessage(2, rawChunk(ID, new Uint8Array(4))),
    ],
  },
  'image.read': {
    params: { point: UUID, disk: 'vda' },
    result: {},
    up: [
      [0, 7, 1, 4096, 64],
      [1, 8, 4096, 64],
    ],
    down: [
      [0, { size: 4, chunkBytes: 65_536, root: ID, idKey: ID }],
      [1, 7, [new Uint8Array(41)]],
      [2, 8, ...(chunksMessage(2, rawChunk(ID, new Uint8Array(4))).slice(1) as unknown[])],
      [2, 8, new Uint8Array(0), new Uint8Array(0)],
      [3, 8, { code: 'DATA_DAMAGED', message: 'chunk is damaged' }],
    ],
  },
  'points.hold': { params: { point: UUID.slice(0, 8), held: true }, result: { point } },
  'points.use': { params: { use: UUID, point: UUID, ttlMs: 5 }, result: { untilMs: 5 } },
  'points.lock': { params: { point: UUID, untilMs: 5 }, result: { point } },
  'points.prune': {
    params: { machine: 'db1', group: 'web', plan: 'gold', rules, points: [UUID], dryRun: true },
    result: {
      points: [{ point: UUID, machine: 'db1', timeMs: 1, keptBy: ['daily', 'held'] }],
      pointCount: 1,
      removed: 0,
    },
  },
  'points.lost': { params: { point: UUID, ...page }, result: { lost: [lost], lostCount: 1, next: 'b' } },
  'points.changes': {
    params: {
      from: UUID,
      to: UUID,
      disk: 'vda',
      fromDisk: 'vdb',
      offset: 65_536,
      bytes: 1,
      limit: 2,
      granularity: 131_072,
    },
    result: {
      size: 262_144,
      fromSize: 131_072,
      granularity: 131_072,
      covered: { offset: 0, bytes: 262_144 },
      ranges: [{ offset: 0, bytes: 131_072, kind: 'zero' }],
      changedBytes: 131_072,
      next: 131_072,
    },
  },
  'plans.list': { params: page, result: { plans: [plan], next: 'b' } },
  'plans.get': { params: { plan: 'gold' }, result: { plan } },
  'plans.apply': {
    params: { plans: [plan], merge: true, remove: ['silver'], replace: true, dryRun: true },
    result: {
      changes: [{ plan: 'gold', change: 'changed', fields: [{ field: 'rpoMs', before: null, after: '4h' }] }],
      warnings: ['plan gold: there is no machine "db1" yet'],
    },
  },
  'plans.next': {
    params: { plan: 'gold', machine: null, count: 3 },
    result: { plan: 'gold', runs: [{ slotMs: 1, startMs: 2 }], reason: null },
  },
  'plans.timeline': {
    params: { plan: 'nightly', fromMs: 0, untilMs: 3_600_000, stepMs: 300_000, ...page },
    result: {
      plans: [
        {
          plan: 'gold',
          machines: 3,
          excluded: 1,
          usualMs: 60_000,
          reason: null,
          starts: [{ atMs: 300_000, machines: 2 }],
          untilMs: 3_600_000,
        },
      ],
      next: 'b',
    },
  },
  'store.growth': {
    params: { days: 400 },
    result: {
      today: 20_000,
      samples: [{ day: 19_999, bytes: 5 }],
      quota: {
        usedBytes: 5,
        softBytes: null,
        hardBytes: 9,
        soft: { daysLeft: null, bytesPerDay: 2, reason: 'limit' },
        hard: { daysLeft: 2, bytesPerDay: 2, reason: null },
      },
      disk: null,
    },
  },
  'store.proof': {
    params: { limit: 10 },
    result: {
      verifiedMs: 5,
      oldestMs: null,
      unverified: 1,
      drilledMs: null,
      machines: [{ machine: 'db1', points: 2, oldestMs: 3 }],
      machineCount: 4,
    },
  },
  'store.damage': {
    params: page,
    result: {
      records: [{ id: 'ab', type: 'chunk', pack: UUID, offset: 64, reason: 'bad', foundMs: 4 }],
      next: 'b',
      lost: [lost],
      lostCount: 1,
      lostBytes: 9,
    },
  },
  'store.collect': {
    params: { dryRun: false, thresholdPercent: 80, bytesPerSecond: 1 << 20 },
    result: {
      dryRun: false,
      points: 1,
      nodes: 1,
      examined: records,
      live: records,
      dead: records,
      missing: 0,
      packs: { before: 2, removed: 1, rewritten: 1, after: 2 },
      bytesBefore: 9,
      bytesRewritten: 3,
      bytesAfter: 6,
      waiting: { damagedBytes: 3, belowThresholdBytes: 1, inUseBytes: 1, noRoomBytes: 1 },
      durationMs: 1,
    },
    down: [progress],
  },
  'store.verify': {
    params: { point: UUID, machine: 'db1', olderThanDays: 30, bytesPerSecond: null },
    result: {
      points: 1,
      good: 0,
      nodes: 1,
      chunks: 1,
      bytes: 1,
      damaged: [damaged],
      damagedCount: 1,
      lost: [lost],
      lostCount: 1,
      durationMs: 1,
    },
    down: [progress],
  },
  'store.check': {
    params: { bytesPerSecond: null },
    result: {
      packs: 1,
      records: 1,
      bytes: 1,
      unindexed: records,
      dangling: 0,
      unknownPacks: 0,
      missingPacks: 0,
      unknownPoints: 0,
      problems: ['pack x: ends within a record'],
      problemCount: 1,
    },
    down: [progress],
  },
  'coverage.list': {
    params: { states: ['late'], ...machine, group: 'g', plan: 'nightly', contains: 'db', order: 'worst', ...page },
    result: { machines: [covered], next: 'b' },
  },
  'coverage.days': {
    params: { ...days, ...page, limit: 5 },
    result: {
      firstDay: '2026-10-30',
      bounds: [1, 2],
      machines: [{ machine: 'db1', state: 'late', cells: [dayCell] }],
      next: 'b',
    },
  },
  'coverage.summary': { params: {}, result: { counts, oldest: { machine: 'db1', timeMs: 1 }, quota, proof } },
  'coverage.tenants': { params: page, result: { tenants: [{ tenant: 'acme', counts, quota }], next: 'b' } },
  'events.list': { params: { kinds: ['job.done'], ...machine, ...page }, result: { events: [shownEvent], next: 'b' } },
  'events.watch': {
    params: { kinds: ['job.done'], ...machine, after: 1 },
    result: {},
    down: [{ events: [shownEvent], seq: 2, trimmedTo: null }],
  },
  'store.forecast': {
    params: {},
    result: { daysLeft: 9, bytesPerDay: -1.5, reason: null, freeBytes: 5, totalBytes: 9, reserveBytes: 1 },
  },
  'runs.list': {
    params: { machine: 'db1', kind: 'backup', state: 'skipped', ...page },
    result: {
      runs: [
        {
          id: UUID,
          kind: 'backup',
          machine: 'db1',
          plan: 'nightly',
          dueMs: 5,
          state: 'skipped',
          skipped: 'missed',
          attempts: 0,
          error: { code: 'QMP_TIMEOUT', message: 'no answer' },
          nextMs: null,
          startedMs: null,
          endedMs: 6,
          job: null,
          by: null,
          summary: '3 runs',
        },
      ],
      next: 'YQ',
    },
  },
  'restores.places': {
    params: { agent: UUID, places: [{ to: '/srv/vda', size: 512, format: 'raw', how: 'onto' }] },
    result: { host: 'h1', ...PLACES },
  },
  'restores.start': {
    params: {
      point: 'abcd',
      agent: UUID,
      disks: [{ disk: 'vda', to: '/srv/vda', format: 'qcow2', how: 'new' }],
      overwrite: true,
    },
    result: { restore: UUID },
  },
  'restores.list': {
    params: { machine: 'db1', state: 'done', ...page },
    result: { restores: [RESTORE], next: 'YQ' },
  },
  'restores.watch': { params: { restore: UUID }, result: RESTORE, down: [RESTORE] },
  'restores.cancel': { params: { restore: UUID }, result: {} },
  'drills.add': {
    params: { drill: UUID, point: UUID, outcome: OUTCOME, log: 'a\n\tb', picture: PICTURE },
    result: {},
  },
  'drills.list': { params: { machine: 'db1', point: 'abcd', ...page }, result: { drills: [DRILL], next: 'YQ' } },
  'drills.get': { params: { drill: UUID }, result: { drill: DRILL, log: 'a', picture: PICTURE } },
  'store.checkFolder': { params: {}, result: { problems: ['the catalog is damaged'] } },
  'store.usage': {
    params: { machine: 'db1', points: true },
    result: {
      rows: [
        {
          scope: 'point',
          machine: 'db1',
          disk: 'vda',
          point: UUID,
          timeMs: 1,
          points: 1,
          logicalBytes: 9,
          usedBytes: 8,
          uniqueBytes: 7,
          sharedBytes: 1,
          storedBytes: 5,
        },
      ],
      rowCount: 2,
      packBytes: 10,
      deadBytes: 1,
      parts: { machineBytes: 3, sharedBytes: 2, deadBytes: 1, uploadBytes: 3, otherBytes: 1, missingBytes: 0 },
      quota: { softBytes: 1, hardBytes: 2 },
      dedupRatio: 1.5,
      compressionRatio: 2,
      growth: { dayBytes: 1, weekBytes: 2, monthBytes: 3 },
    },
    down: [progress],
  },
  'agent.inventory': {
    params: {
      host: 'h',
      machines: [{ name: 'db1', uuid: UUID, here: true }],
      jobs: [UUID],
      relay: { commands: ['query-status'], more: 0 },
    },
    result: {
      refused: [{ machine: 'db1', code: 'EXISTS', message: 'm' }],
      jobs: [{ job: UUID, state: 'running', keys: { idKey: ID, chunkBytes: 65_536 } }],
    },
  },
  'backup.progress': {
    params: {
      job: UUID,
      step: 'disk',
      spent: { overMs: 4, readingMs: 1, compressingMs: 1, sendingMs: 1, answersMs: 1 },
    },
    result: {},
  },
  'backup.begin': {
    params: {
      job: UUID,
      timeMs: 1,
      leadMs: 1,
      consistency: 'crash',
      note: null,
      attachments: [{ name: 'domain.xml', size: 5 }],
      missing,
      configuration: '{}',
      leftOut,
      checkpoint: true,
      disks: [{ ...readDisk, base: 'vda', evidence: 'raw /d.raw', comparedChunks: 1 }],
    },
    result: {},
  },
  'image.content': {
    params: { job: UUID, disk: 'vda', before: 9, limit: 5 },
    result: { positions: [8, 2], next: 2 },
  },
  'image.compare': {
    params: { job: UUID, disk: 'vda', positions: [5], ids: ID },
    result: { compared: 1, different: [5] },
  },
  'image.upload': {
    params: { job: UUID, disk: 'vda' },
    result: { root: null },
    up: [
      [
        0,
        [
          [0, 5],
          [1, 5],
          [2, new Uint8Array(64)],
        ],
      ],
      chunksMessage(1, zstdChunk(ID, new Uint8Array(65_536)), rawChunk(ID, new Uint8Array(9))),
      [2, [[ID, ID]]],
    ],
    down: [
      [0, { position: 0, proofKey: ID }],
      [1, new Uint8Array(3)],
      [2, new Uint8Array(0)],
      [3, 7],
    ],
  },
  'backup.commit': {
    params: { job: UUID, bytesRead: 1, steps: [], frozenMs: 1, scratch: { usedBytes: 1, limitBytes: 2 } },
    result: { point: UUID },
  },
  'backup.fail': { params: { job: UUID, code: 'QMP_ERROR', message: 'm', steps: [] }, result: {} },
  'backup.released': { params: ofJob, result: {} },
  'agent.backup': {
    params: {
      job: UUID,
      machine: 'db1',
      full: true,
      policy,
      idKey: ID,
      chunkBytes: 65_536,
      base: {
        checkpoint: UUID,
        agent: UUID,
        disks: [{ name: 'vda', size: 1, reread: [[0, 1]], evidence: 'raw /d.raw', missed: false }],
      },
      compare: false,
    },
    result: {},
  },
  'notify.targets': { params: {}, result: { targets: [target] } },
  'notify.setTarget': {
    params: {
      target: 'mail',
      settings: target.settings,
      secrets: {
        password: 'p',
        token: 't',
        url: 'https://a.example/x',
        key: 'k',
        headers: [{ name: 'A', value: 'b' }],
      },
      hourly: 30,
      rule: true,
    },
    result: { target, added: true },
  },
  'notify.removeTarget': { params: { target: 'mail' }, result: { rules: ['all'] } },
  'notify.test': { params: { target: 'mail' }, result: { sent: true, answer: '250 ok', durationMs: 1 } },
  'notify.rules': { params: {}, result: { rules: [{ name: 'all', ...noticeRule }] } },
  'notify.setRule': { params: { rule: 'all', ...noticeRule }, result: { added: true } },
  'notify.removeRule': { params: { rule: 'all' }, result: {} },
  'notify.mutes': { params: {}, result: { mutes: [mute] } },
  'notify.mute': { params: { match: noticeRule.match, reason: 'work', untilMs: 1 }, result: { mute } },
  'notify.unmute': { params: { mute: UUID }, result: {} },
  'notify.outbox': {
    params: { state: 'dead', ...page },
    result: {
      notices: [
        {
          id: UUID,
          target: 'mail',
          subject: 's',
          severity: 'error',
          state: 'dead',
          attempts: 1,
          madeMs: 1,
          nextMs: null,
          endedMs: 2,
          error: '550',
        },
      ],
      next: 'b',
    },
  },
  'notify.retry': { params: { notice: UUID }, result: {} },
  'notify.drop': { params: { notice: UUID }, result: {} },
  'notify.digest': { params: { target: 'mail' }, result: { notice: UUID, holding: 1 } },
  'notify.ping': { params: {}, result: { ping } },
  'notify.setPing': {
    params: { url: 'https://a.example/x', everyMs: 60_000, insecure: false },
    result: { ping },
  },
  'agent.cancel': { params: ofJob, result: {} },
  'agent.status': { params: machine, result: status },
  'agent.checkpoints': { params: machine, result: checkpoints },
  'agent.forget': forget,
  'agent.lease': { params: ordered, result: heldLease },
  'agent.renewLease': leased.renewLease,
  'agent.endLease': leased.endLease,
  'agent.targets': leased.targets,
  'agent.removeTarget': leased.removeTarget,
  'agent.places': { params: { places: [{ to: '/srv/vda', size: 512, format: null, how: 'new' }] }, result: PLACES },
  'agent.restore': {
    params: {
      restore: UUID,
      point: UUID,
      disks: [{ disk: 'vda', to: '/srv/vda', format: null, how: 'new', size: 512, root: ID }],
      overwrite: false,
    },
    result: {
      disks: [
        {
          disk: 'vda',
          path: '/srv/vda',
          format: 'raw',
          bytesReceived: 9,
          differBytes: null,
          writtenBytes: 0,
          remarks: ['other names'],
        },
      ],
    },
    down: [{ disk: 'vda', doneBytes: 5, bytesReceived: 9, differBytes: null, writtenBytes: 0 }],
  },
  'agent.restoreOnto': {
    params: {
      restore: UUID,
      point: UUID,
      disks: [{ disk: 'vda', to: '/srv/vda', format: null, how: 'onto', size: 512, root: ID }],
      overwrite: false,
    },
    result: {
      disks: [
        {
          disk: 'vda',
          path: '/srv/vda',
          format: 'raw',
          bytesReceived: 9,
          differBytes: 5,
          writtenBytes: 5,
          remarks: ['other names'],
        },
      ],
    },
    down: [{ disk: 'vda', doneBytes: 5, bytesReceived: 9, differBytes: 5, writtenBytes: 2 }],
  },
  'agent.qmp': qmp,
  'agent.events': { params: machine, result: {}, down: [event] },
}

/** Fields that have a default: what was written before they were known is taken without them. */
const WITH_DEFAULT: ReadonlySet<string> = new Set([
  'jobs.list running',
  'backup.begin attachments',
  'backup.begin leadMs',
  'backup.commit steps',
  'backup.commit frozenMs',
  'backup.commit scratch',
  'backup.fail steps',
  ...['list', 'get', 'hold', 'lock'].flatMap((what) =>
    ['took', 'drill', 'usedUntilMs'].map((field) => `points.${what} ${field}`),
  ),
  'agent.backup missed',
  'backup.begin missing',
  'machines.list refuseLeftOut',
  'machines.list compareDays',
  ...['tenants', 'agents', 'tokens', 'audit', 'machines', 'jobs', 'points', 'plans'].flatMap((of) => [
    `${of}.list after`,
    `${of}.list limit`,
  ]),
  ...['coverage.list', 'coverage.days', 'coverage.tenants', 'events.list'].flatMap((name) => [
    `${name} after`,
    `${name} limit`,
  ]),
  ...['states', 'machine', 'group', 'plan', 'contains', 'order'].map((field) => `coverage.list ${field}`),
  ...['untilDay', 'zone', 'contains', 'states', 'order'].map((field) => `coverage.days ${field}`),
  ...['events.list', 'events.watch'].flatMap((name) => [`${name} kinds`, `${name} machine`]),
  'points.lost after',
  'agents.list enrolment',
  ...['newest', 'contains', 'failed'].map((field) => `audit.list ${field}`),
  'agent.inventory relay',
  'points.lost limit',
  ...['fromDisk', 'offset', 'bytes', 'limit', 'granularity'].map((field) => `points.changes ${field}`),
  'machines.list machine',
  'machines.lease consistency',
  ...['machines.status', 'agent.status'].map((name) => `${name} target`),
  'tenants.list tenant',
  'tokens.list tenant',
  'tokens.issue tenant',
  'login.issue tenant',
  'enrolments.issue tenant',
  'tenants.setQuota softBytes',
  'tenants.setQuota hardBytes',
  'agent.backup refuseLeftOut',
  'agent.backup compareDays',
  'backup.start compare',
  'backup.begin checkpoint',
  ...['machine', 'kind', 'state', 'after', 'limit'].map((field) => `runs.list ${field}`),
  ...['merge', 'remove', 'replace', 'dryRun', 'keep', 'covers', ...Object.keys(plan)].map(
    (field) => `plans.apply ${field}`,
  ),
  ...[...Object.keys(keep), ...Object.keys(plan.covers)].map((field) => `plans.apply ${field}`),
  ...['machine', 'state', 'after', 'limit'].map((field) => `restores.list ${field}`),
  ...['restores.places', 'agent.places'].flatMap((name) => [`${name} places`, `${name} format`, `${name} how`]),
  ...['restores.start', 'agent.restore', 'agent.restoreOnto'].flatMap((name) => [`${name} format`, `${name} how`]),
  ...['restores.list', 'restores.watch', 'agent.restore', 'agent.restoreOnto'].flatMap((name) =>
    ['how', 'differBytes', 'writtenBytes'].map((field) => `${name} ${field}`),
  ),
  ...['machine', 'point', 'after', 'limit'].map((field) => `drills.list ${field}`),
  'plans.next count',
  'points.list untilMs',
  'points.prune plan',
  'store.growth days',
  'store.proof limit',
  ...['plan', 'stepMs', 'after', 'limit'].map((field) => `plans.timeline ${field}`),
  ...['after', 'limit'].map((field) => `store.damage ${field}`),
  'tenants.add firstPlan',
  'notify.outbox state',
  'notify.outbox after',
  'notify.outbox limit',
  'notify.setPing insecure',
  ...['secrets', 'hourly', 'rule', 'password', 'token', 'url', 'key', 'headers'].map(
    (field) => `notify.setTarget ${field}`,
  ),
  ...['rules', 'setRule', 'mutes', 'mute'].flatMap((of) =>
    ['kinds', 'severity', 'machines', 'groups', 'all', 'any', 'not'].map((field) => `notify.${of} ${field}`),
  ),
])

/** The value with each of its leaves made into something no schema takes there, one at a time. */
const spoilt = (method: MethodName, value: unknown): unknown[] => {
  const whole = [{ wrong: true }, [[]], Number.NaN]
  if (value instanceof Uint8Array) return [value.length, Buffer.from(value).toString('hex'), ...whole]
  if (Array.isArray(value))
    return [7, 'text', ...value.flatMap((item, index) => spoilt(method, item).map((bad) => value.with(index, bad)))]
  if (typeof value === 'object' && value !== null)
    return [
      7,
      'text',
      ...Object.entries(value).flatMap(([name, field]) =>
        spoilt(method, field).map((bad) => ({ ...value, [name]: bad })),
      ),
      ...Object.keys(value)
        .filter((name) => !WITH_DEFAULT.has(`${method} ${name}`))
        .map((name) => Object.fromEntries(Object.entries(value).filter(([other]) => other !== name))),
    ]
  return whole
}

describe.each(names)('%s', (name) => {
  const { params, result, up, down } = methodOf(name)
  const good = GOOD[name]
  const parts: readonly (readonly [string, v.GenericSchema, readonly unknown[]])[] = [
    ['params', params, [good.params]],
    ['result', result, [good.result]],
    ...(up === null ? [] : [['up', up.message, good.up ?? []] as const]),
    ...(down === null ? [] : [['down', down.message, good.down ?? []] as const]),
  ]

  test.each(parts)('%s: takes what is right and refuses each wrong leaf', (_, schema, values) => {
    expect(values.length).toBeGreaterThan(0)
    for (const value of values) {
      expect(v.parse(schema, value)).toEqual(value)
      for (const bad of spoilt(name, value)) expect(v.safeParse(schema, bad).success, JSON.stringify(bad)).toBe(false)
    }
  })
})
