// The JSON of every command of both programs, made by running them with a real gateway, agent and QEMU: its fields are
// those that JSON.md lists.
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { makeProgram as makeGatewayProgram } from '../../gateway/main.ts'
import { Receiver } from '../gateway/notify/servers.ts'
import { MIB } from '../support/model-machine.ts'
import { Program } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { startQemuNbd } from '../agent/nbd/qemu-nbd.ts'
import { commandsOf } from './program-commands.ts'

const DOCUMENT = path.join(import.meta.dirname, '../../protocol/JSON.md')

/** Values whose own fields are not listed: what an error tells of itself, and what QEMU says. */
const OPEN: readonly string[] = [
  'error.details',
  'value',
  'events[].data',
  ...['target', 'targets[]'].map((of) => `${of}.settings`),
  'match',
  'rules[].match',
  'mute.match',
  'mutes[].match',
]

/** Lengths of time, which are no instants. */
const LENGTHS: ReadonlySet<string> = new Set([
  'duration',
  'rpo',
  'jitter',
  'every',
  'repeat',
  'target',
  'lag',
  'skew',
  'frozen',
  'took',
  'firmware',
  'evidence',
  'bootLimit',
])

/** The paths of a value, such as `points[].disks[].name`, and those below which it has nothing to show. */
const pathsOf = (value: unknown, at = ''): { found: Set<string>; empty: Set<string> } => {
  const found = new Set<string>()
  const empty = new Set<string>()
  const add = (below: unknown, place: string): void => {
    found.add(place)
    const more = pathsOf(below, place)
    for (const one of more.found) found.add(one)
    for (const one of more.empty) empty.add(one)
  }
  if (Array.isArray(value)) {
    if (value.length === 0) empty.add(`${at}[]`)
    for (const one of value) add(one, `${at}[]`)
  } else if (value === null) empty.add(at)
  else if (typeof value === 'object' && !OPEN.includes(at))
    for (const [name, below] of Object.entries(value)) add(below, at === '' ? name : `${at}.${name}`)
  return { found, empty }
}

type Fields = readonly { readonly path: string; readonly shape: string | null }[]

/** Words in backticks, such as `points[]: Point`. */
const fieldsOf = (text: string): Fields =>
  [...text.matchAll(/`([^`]+)`/gu)].map(([, words = '']) => {
    const [place = '', shape] = words.split(': ')
    return { path: place, shape: shape ?? null }
  })

/** A row of a table, or an item of a list: names in backquotes, and what is said of them. */
const ROW = /^(?:\| |- )(?<head>`[^`]+`(?:, `[^`]+`)*)(?:(?: *\||:) *(?<rest>.*?)(?: *\|)?)?$/u

/** JSON.md: the fields of each shape and of each command's document. */
const readDocument = (): { shapes: Map<string, Fields>; commands: Map<string, Fields> } => {
  const shapes = new Map<string, Fields>()
  const commands = new Map<string, Fields>()
  for (const section of readFileSync(DOCUMENT, 'utf8').split(/^#+ /mu)) {
    const [title = '', ...lines] = section.split('\n')
    // wide ones are lists, whose items are wrapped
    const rows = lines
      .join('\n')
      .replaceAll(/\n {2}(?=\S)/gu, ' ')
      .split('\n')
      .map((line) => ROW.exec(line)?.groups)
      .filter((groups) => groups !== undefined)
    if (title === 'Documents') for (const { head, rest } of rows) commands.set(head!.slice(1, -1), fieldsOf(rest ?? ''))
    else
      shapes.set(
        title,
        rows.flatMap(({ head }) => fieldsOf(head!)),
      )
  }
  return { shapes, commands }
}

const { shapes, commands } = readDocument()

/** Every path that a command's document may have. */
const expand = (fields: Fields, before = ''): string[] =>
  fields.flatMap(({ path: own, shape }) => {
    if (own === '') return expand(shapes.get(shape ?? '') ?? [], before)
    const place = `${before}${own}`
    const parents = place.split('.').map((_, index, parts) => parts.slice(0, index + 1).join('.'))
    const lists = parents.flatMap((one) => (one.endsWith('[]') ? [one, one.slice(0, -2)] : [one]))
    if (shape === null) return lists
    const known = shapes.get(shape)
    if (known === undefined) throw new Error(`JSON.md has no shape ${shape}`)
    return [...lists, ...expand(known, `${place}.`)]
  })

/** What a document has that JSON.md does not list for its command, and the other way round. */
const differences = (command: string, document: unknown): { unlisted: string[]; missing: string[] } => {
  const listed = new Set(expand(commands.get(command) ?? []))
  const { found, empty } = pathsOf(document)
  const below = (place: string): boolean => [...empty].some((one) => place === one || place.startsWith(`${one}.`))
  return {
    unlisted: [...found, ...empty].filter((one) => !listed.has(one)),
    missing: [...listed].filter((one) => !found.has(one) && !below(one)),
  }
}

test('JSON.md has a row for every command that takes --json, and every such command takes it', () => {
  const names = [
    ...commandsOf(makeGatewayProgram()).map((name) => `varve-gateway ${name}`),
    ...commandsOf(agentProgram).map((name) => `varve-agent ${name}`),
  ].filter((name) => name !== 'varve-gateway serve' && name !== 'varve-agent run')
  const rebuilds = names.flatMap((name) =>
    name === 'varve-gateway repair'
      ? [`${name} --check`, `${name} --rebuild`]
      : name === 'varve-agent restore'
        ? [name, `${name} --onto`]
        : [name],
  )
  expect([...commands.keys()].toSorted()).toEqual(rebuilds.toSorted())
})

test('each command prints one object with the fields that JSON.md lists, instants as text and in milliseconds', async () => {
  await using stand = await Stand.start()
  // as slow as a backup must be that is to be cancelled
  const host = await stand.addHost({ settings: { bandwidth: '64 KiB' } })
  await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 2 * MIB, content: Buffer.alloc(2 * MIB, 7) }])
  await host.addMachine('db2', [{ id: 'vda', format: 'raw', size: 2 * MIB, content: randomBytes(2 * MIB) }])
  await host.start()
  const documents = new Map<string, unknown>()
  const note = (command: string, text: string): Record<string, unknown> => {
    const document = JSON.parse(text) as Record<string, unknown>
    documents.set(command, document)
    return document
  }
  const gateway = async (command: string, ...more: readonly string[]): Promise<Record<string, unknown>> =>
    note(`varve-gateway ${command}`, (await stand.done(...command.split(' '), ...more, '--json')).stdout)
  const agent = async (command: string, ...more: readonly string[]): Promise<Record<string, unknown>> =>
    note(`varve-agent ${command}`, (await host.done(...command.split(' '), ...more, '--json')).stdout)
  const of = ['--tenant', 'acme']

  const backup = (await agent('backup', 'db1')) as { point: { id: string } }
  await Promise.all([agent('machines'), agent('status'), agent('points')])
  await agent('restore', backup.point.id, '--disk', 'vda', '--to', stand.folder.join('vda.raw'))
  const ontoArgs = ['--disk', 'vda', '--onto', stand.folder.join('vda.raw'), '--dry-run', '--json']
  note('varve-agent restore --onto', (await host.done('restore', backup.point.id, ...ontoArgs)).stdout)
  const serving = host.command('export', backup.point.id, '--socket', stand.folder.join('export.sock'), '--json')
  await serving.says(/"exported"/u)
  note('varve-agent export', (await serving.end('SIGTERM')).stdout)
  const [finished, abandoned] = [stand.folder.join('finished'), stand.folder.join('abandoned')]
  await using served = await startQemuNbd(stand.folder, '--read-only', '--format=raw', stand.folder.join('vda.raw'))
  const instant = ['--instant', new Date().toISOString(), '--disk', `vda=${served.socketPath}:disk`]
  const others = ['--machine', 'other1', '--agent-config', host.configFile, '--json']
  const external = await new Program('agent', ['external', 'backup', ...others, ...instant]).ended
  note('varve-agent external backup', external.stdout)
  const query = await new Program('agent', ['external', 'query', ...others, '--disk', `vda=${2 * MIB}`]).ended
  note('varve-agent external query', query.stdout)
  await agent('instant begin', backup.point.id, '--to', finished)
  await agent('instant status')
  await agent('instant resume', finished)
  await agent('instant finish', finished)
  await host.done('instant', backup.point.id, '--to', abandoned)
  await agent('instant abandon', abandoned, '--yes')
  const made = await agent('drill', backup.point.id, '--check', 'command:true', '--scratch', stand.folder.path)
  await Promise.all([gateway('drills list', ...of), gateway('drills show', String(made['drill']), ...of)])
  await agent('points')
  await agent('checkpoints', 'db1')
  const words = ['lease', 'db1', '--target', 't', '--config', host.configFile, '--json', '--', 'true']
  await new Program('agent', words).ended
  note('varve-agent lease', (await new Program('agent', words).ended).stdout)
  await agent('targets', 'db1')
  await agent('forget', 'db1')
  await agent('discover')
  const { agents } = (await gateway('agent list', ...of)) as { agents: { id: string }[] }
  const who = agents[0]!.id
  await gateway('tenant add', 'beta')
  await Promise.all([gateway('tenant list'), gateway('tenant quota', 'acme', '--hard', '1T'), gateway('enrol', ...of)])
  await gateway('login', ...of, '--role', 'viewer')
  const issued = (await gateway('token issue', ...of, '--role', 'viewer')) as { id: string }
  await Promise.all([gateway('token list', ...of), gateway('token revoke', issued.id, ...of)])
  await Promise.all([gateway('audit list', ...of), gateway('audit check'), gateway('machine list', ...of)])
  await Promise.all([gateway('machine status', 'db1', ...of), gateway('machine qmp', 'db1', 'query-status', ...of)])
  await Promise.all([gateway('machine events', 'db1', ...of, '--for', '1s'), gateway('job list', ...of)])
  await Promise.all([gateway('point show', backup.point.id, ...of), gateway('point lost', backup.point.id, ...of)])
  await gateway('backup', 'db1', ...of)
  await gateway('job watch', backup.point.id, ...of)
  await gateway('diff', 'none', backup.point.id, ...of)
  const { stdout } = await stand.done('backup', 'db2', ...of, '--detach', '--json')
  await gateway('job cancel', (JSON.parse(stdout) as { job: string }).job, ...of)
  const goal = await stand.addHost({ settings: { tables: ['[restore]', `folders = ["${stand.folder.path}"]`] } })
  await goal.addMachine('db3', [{ id: 'vda', format: 'raw', size: 8 * MIB, content: randomBytes(8 * MIB) }])
  await goal.start()
  const { point: large } = await goal.backup('db3')
  const to = (name: string): string[] => [...of, '--agent', goal.agentId, '--disk', `vda=${stand.folder.join(name)}`]
  const { id } = await gateway('restore', backup.point.id, ...to('ordered'), '--watch')
  await Promise.all([gateway('restores list', ...of), gateway('restores watch', String(id), ...of)])
  goal.link.bytesPerSecond = MIB
  const slow = JSON.parse((await stand.done('restore', large, ...to('slow'), '--json')).stdout) as { id: string }
  await gateway('restores cancel', slow.id, ...of)
  await gateway('machine checkpoints', 'db1', ...of)
  await gateway('machine forget', 'db1', ...of)
  await gateway('machine assign', 'db1', '--agent', who, ...of)
  await gateway('machine group', 'db1', 'databases', ...of)
  await gateway('machine exclude', 'db1', ...of, '--reason', 'rebuilt', '--until', '1d')
  await gateway('machine list', ...of)
  await gateway('machine include', 'db1', ...of)
  await gateway('plan set', 'gold', ...of, '--keep-last', '9', '--rpo', '4h', '--cover-machine', 'nobody')
  await gateway('plan set', 'silver', ...of, '--schedule', '30 2 * * *', '--cover-others')
  const file = stand.folder.join('plans.toml')
  await writeFile(file, '[plans.gold]\nrpo = "5h"\n')
  await gateway('plan apply', ...of, '--file', file, '--yes')
  await gateway('plan disable', 'gold', ...of)
  await gateway('plan enable', 'gold', ...of)
  await Promise.all([gateway('plan list', ...of), gateway('plan show', 'gold', ...of), gateway('plan export', ...of)])
  await gateway('plan next', 'silver', ...of)
  await gateway('plan remove', 'gold', ...of)
  await Promise.all([gateway('points', ...of), gateway('hold', backup.point.id, ...of, '--until', '1d')])
  await Promise.all([gateway('prune', '--dry-run'), gateway('usage', '--points')])
  await gateway('coverage', '--fail-on', 'none')
  await Promise.all([gateway('events', ...of), gateway('runs', ...of)])
  await gateway('gc')
  await gateway('verify')
  // of the platform, whose targets may be on this host
  await using server = await Receiver.listen()
  await gateway('notify target add', 'hook', '--webhook', server.url)
  await stand.done('notify', 'target', 'add', 'dead', '--webhook', 'http://127.0.0.1:1')
  const rule = ['--target', 'hook', '--quiet', '22:00-07:00', '--repeat', '1h', '--time-zone', 'UTC']
  await gateway('notify rule set', 'nights', ...rule)
  await Promise.all([gateway('notify target list'), gateway('notify rule list'), gateway('notify test', 'hook')])
  const { mute } = (await gateway('notify mute', '--for', '1h', '--reason', 'work')) as { mute: { id: string } }
  await gateway('notify mutes')
  await gateway('notify unmute', mute.id)
  const { notice } = (await gateway('notify digest', 'dead')) as { notice: string }
  await gateway('notify outbox')
  await gateway('notify retry', notice)
  await gateway('notify drop', notice)
  await writeFile(stand.folder.join('url'), server.url)
  await gateway('notify ping', '--url-file', stand.folder.join('url'))
  await gateway('notify rule remove', 'nights')
  await gateway('notify target remove', 'dead')
  note('varve-gateway repair --check', (await stand.done('repair', '--check', '--json')).stdout)
  await gateway('keys new')
  await gateway('keys list')
  await gateway('forecast')
  await agent('rotate-key')
  await host.end('SIGTERM')
  await stand.endGateway('SIGTERM')
  note('varve-gateway repair --rebuild', (await stand.done('repair', '--rebuild', '--json')).stdout)
  await stand.startGateway()
  await gateway('agent site', who, 'dc1', ...of)
  await gateway('agent revoke', who, ...of)
  const token = (await gateway('enrol', ...of)) as { token: string }
  await agent('uninstall')
  expect(existsSync(host.stateFolder)).toBe(false)
  await agent('enrol', '--gateway', stand.url, '--token', token.token)

  expect([...documents.keys()].toSorted()).toEqual([...commands.keys()].toSorted())
  for (const [command, document] of documents)
    expect({ command, ...differences(command, document) }).toEqual({ command, unlisted: [], missing: [] })
  for (const document of documents.values()) {
    const text = JSON.stringify(document)
    for (const [, name, ms] of text.matchAll(/"(\w+)Ms":(\d+)/gu))
      if (!LENGTHS.has(name!)) expect(text).toContain(`"${name}":"${new Date(Number(ms)).toISOString()}"`)
  }
  const refused = await stand.run('points', '--tenant', 'nobody', '--json')
  const listed = new Set(expand(shapes.get('Error') ?? [], 'error.'))
  expect([...pathsOf(JSON.parse(refused.stdout)).found].toSorted()).toEqual([...listed].toSorted())
})
