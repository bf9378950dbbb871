// The two products that back a libvirt domain up: Varve, and Debian's virtnbdbackup without and with compression.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { AGENT_NODE, agentProgram, Commands, gatewayProgram } from '../demo/commands.ts'
import { accepts, freePort, Service } from '../demo/service.ts'
import type { TestLibvirt } from '../support/libvirt.ts'
import { DOMAIN } from './libvirt-domain.ts'
import type { Command, Watched } from './measure.ts'

const TENANT = 'bench'
const READY_TIMEOUT_MS = 30_000

export type Level = 'full' | 'incremental'

/** Disposing it ends what it has running. */
export interface Product extends AsyncDisposable {
  /** Processes of its own besides the command's. */
  readonly watched: readonly Watched[]
  /** What it stores lies here and nowhere else. */
  readonly store: string
  backup(level: Level): Command
  /** The name of the point that a backup made, by its output; throws where it is not what was asked for. */
  pointOf(level: Level, output: string): Promise<string>
  /** Restores a point to a qcow2 file named disk.qcow2 in a folder. */
  restore(point: string, folder: string): Command
  /** The ends of its logs. */
  logTails(): Promise<string>
}

const pointSchema = v.object({
  point: v.object({ id: v.string(), kind: v.picklist(['full', 'incremental']), reason: v.string() }),
})

/** Gateway and agent, each a real process. */
export const openVarve = async (libvirt: TestLibvirt, folder: string, signal: AbortSignal): Promise<Product> => {
  await using stack = new AsyncDisposableStack()
  await mkdir(folder)
  const port = await freePort()
  const url = `ws://127.0.0.1:${port}`
  const data = path.join(folder, 'gateway')
  const config = path.join(folder, 'agent.toml')
  const machine = `[[machine]]\nname = "${DOMAIN}"\ndomain = "${DOMAIN}"\nuri = "${libvirt.uri}"\n`
  await writeFile(config, `gateway = "${url}"\nstate = "${path.join(folder, 'agent')}"\n\n${machine}`)
  const service = async (name: string, ...args: string[]): Promise<Service> =>
    stack.use(await Service.start(name, path.join(folder, `${name}.log`), process.execPath, args))
  const gateway = await service('gateway', gatewayProgram, 'serve', '--data', data, '--listen', `127.0.0.1:${port}`)
  await gateway.until(() => accepts(port), READY_TIMEOUT_MS)
  const commands = new Commands(data, config, signal)
  await commands.addTenant(TENANT)
  await commands.enrol(url, await commands.enrolmentToken(TENANT))
  const agent = await service('agent', ...AGENT_NODE, agentProgram, 'run', '--config', config)
  await agent.until(() => commands.agentAnswers(), READY_TIMEOUT_MS)
  const command = (verb: string, ...args: string[]): Command => {
    return { name: 'command', program: process.execPath, args: [agentProgram, verb, ...args, '--config', config] }
  }
  const started = stack.move()
  return {
    watched: [
      { name: 'agent', pid: agent.pid },
      { name: 'gateway', pid: gateway.pid },
    ],
    store: data,
    backup: (level) => command('backup', DOMAIN, '--json', ...(level === 'full' ? ['--full'] : [])),
    pointOf: async (level, output) => {
      const { point } = v.parse(pointSchema, JSON.parse(output.trimEnd().split('\n').at(-1) ?? ''))
      if (point.kind !== level) throw new Error(`a backup of Varve is ${point.kind} (${point.reason}), not ${level}`)
      return point.id
    },
    restore: (point, target) =>
      command('restore', point, '--disk', 'vda', '--to', path.join(target, 'disk.qcow2'), '--format', 'qcow2'),
    logTails: async () =>
      (await Promise.all([gateway, agent].map(async (one) => `--- ${one.name}\n${await one.tail()}`))).join('\n'),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

/** The names of its checkpoints, in their order, of which each is a point. */
const checkpointsSchema = v.array(v.string())

/** Its backups are files in one folder; it has nothing running between them. */
export const openVirtnbdbackup = async (
  libvirt: TestLibvirt,
  folder: string,
  compression: boolean,
): Promise<Product> => {
  const [uri, store] = [libvirt.uri, path.join(folder, 'store')]
  const connect = ['--noprogress', '--uri', uri]
  const scratch = path.join(folder, 'scratch')
  await mkdir(folder)
  await mkdir(scratch)
  await libvirt.give(scratch)
  const places = ['--scratchdir', scratch, '--socketfile', path.join(scratch, 'virtnbdbackup.sock')]
  const name = 'command'
  return {
    watched: [],
    store,
    backup: (level) => {
      const what = ['--domain', DOMAIN, '--level', level === 'full' ? 'full' : 'inc', '--output', store]
      const compress = compression ? ['--compress'] : []
      return { name, program: 'virtnbdbackup', args: [...connect, ...what, ...places, ...compress] }
    },
    pointOf: async (level) => {
      const list: unknown = JSON.parse(await readFile(path.join(store, `${DOMAIN}.cpt`), 'utf8'))
      const points = v.parse(checkpointsSchema, list)
      const point = points.at(-1)
      if (point === undefined || (level === 'full') !== (points.length === 1))
        throw new Error(`virtnbdbackup has the checkpoints ${points.join()} after a backup that is ${level}`)
      return point
    },
    restore: (point, target) => {
      const log = ['--logfile', path.join(folder, 'restore.log')]
      const what = ['--input', store, '--output', target, '--until', point]
      return { name, program: 'virtnbdrestore', args: [...connect, ...what, ...log] }
    },
    logTails: () => Promise.resolve(''),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
