// What the gateway may ask of this agent.
import { VarveError } from '../protocol/errors.ts'
import type { Handlers } from '../protocol/peer.ts'
import type { Backups } from './backup.ts'
import type { AgentConfig } from './config.ts'
import type { Drivers } from './drivers/registry.ts'
import type { Inventory } from './inventory.ts'
import type { TargetLeases } from './leases/target-leases.ts'
import type { Relay } from './relay.ts'
import type { OrderedRestores } from './restore/ordered.ts'

/** What serves it. */
export interface Served {
  readonly inventory: Inventory
  readonly backups: Backups
  readonly leases: TargetLeases
  readonly relay: Relay
  readonly restores: OrderedRestores
  readonly forget: Drivers['forget']
}

export const handlersOf = (
  { machines }: AgentConfig,
  { backups, leases, relay, restores, forget }: Served,
): Handlers => ({
  'agent.backup': async (order) => {
    backups.start(order)
    return {}
  },
  'agent.cancel': async ({ job }) => {
    backups.cancel(job)
    return {}
  },
  'agent.status': ({ machine }) => relay.status(machine),
  'agent.checkpoints': ({ machine }) => relay.checkpoints(machine),
  'agent.forget': ({ machine: name, disk }) => {
    const machine = machines.find((one) => one.name === name)
    if (machine === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${name}"`)
    return forget(machine, disk)
  },
  'agent.lease': (order, call) => leases.begin(order, call.signal),
  'agent.renewLease': (params) => leases.renew(params),
  'agent.endLease': async (params) => {
    await leases.end(params)
    return {}
  },
  'agent.targets': ({ machine }) => leases.targets(machine),
  'agent.removeTarget': async (params) => {
    await leases.remove(params)
    return {}
  },
  'agent.places': (params, call) => restores.places(params, call.signal),
  'agent.restore': (params, call) => restores.run(params, call),
  'agent.restoreOnto': (params, call) => restores.runOnto(params, call),
  'agent.qmp': (params) => relay.execute(params),
  'agent.events': (params, call) => relay.events(params, call),
})
