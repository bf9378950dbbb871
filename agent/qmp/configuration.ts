// The configuration of a machine, kept with its backups.

import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import type { JsonValue } from '../json-value.ts'
import type { QmpCaller } from './client.ts'
import { listDisks } from './disks.ts'

/** Longest configuration kept with a restore point, in bytes of JSON. */
export const CONFIGURATION_BYTES_MAX = 64 * 1024

const ask = async <S extends v.GenericSchema>(
  client: QmpCaller,
  command: string,
  schema: S,
  args: Readonly<Record<string, unknown>> = {},
): Promise<v.InferOutput<S> | null> => {
  try {
    const checked = v.safeParse(schema, await client.execute(command, args))
    return checked.success ? checked.output : null
  } catch (error) {
    if (error instanceof VarveError && error.code === 'QMP_ERROR') return null
    throw error
  }
}

const versionSchema = v.object({
  qemu: v.object({ major: v.number(), minor: v.number(), micro: v.number() }),
  package: v.string(),
})
const memorySchema = v.object({ 'base-memory': v.number(), 'plugged-memory': v.optional(v.number()) })

/** The machine's QEMU version, name, uuid, CPUs, memory and disks; what QEMU does not report is null. */
export const machineConfiguration = async (client: QmpCaller): Promise<JsonValue> => {
  const version = await ask(client, 'query-version', versionSchema)
  const name = await ask(client, 'query-name', v.object({ name: v.optional(v.string()) }))
  const uuid = await ask(client, 'query-uuid', v.object({ UUID: v.string() }))
  const cpus = await ask(client, 'query-cpus-fast', v.array(v.object({ target: v.optional(v.string()) })))
  const memory = await ask(client, 'query-memory-size-summary', memorySchema)
  const machineType = await ask(client, 'qom-get', v.string(), { path: '/machine', property: 'type' })
  const known = {
    qemu: version === null ? null : { ...version.qemu, package: version.package },
    name: name?.name ?? null,
    uuid: uuid?.UUID ?? null,
    cpuCount: cpus?.length ?? null,
    architecture: cpus?.[0]?.target ?? null,
    memoryBytes: memory === null ? null : memory['base-memory'] + (memory['plugged-memory'] ?? 0),
    machineType: machineType,
  }
  const disks = (await listDisks(client)).disks.map(({ name: disk, qdev, size, format, fileName }) => ({
    name: disk,
    device: qdev,
    size,
    format,
    fileName,
  }))
  const whole = { ...known, disks }
  return Buffer.byteLength(JSON.stringify(whole)) <= CONFIGURATION_BYTES_MAX ? whole : { ...known, disks: null }
}
