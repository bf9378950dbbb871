// Each way back as a command for a host, with an agent or with a person's token.
import { useSignal } from '@preact/signals'
import type { Point } from '../../../../protocol/schemas.ts'
import { zone } from '../../frame/console.ts'
import { Copy } from '../../parts/copy.tsx'
import { restore as texts } from '../../texts/restore.ts'
import { gatewayAddress } from '../people/enrol-command.ts'
import { commandsOf, type Commands } from './commands.ts'
import { NOWHERE, offered, targetsOf, type Wish } from './wish.ts'

/** Where a whole machine goes while nobody has said where. */
const FOLDER = '/var/tmp'

const ORDER = [
  'whole',
  'instant',
  'disks',
  'onto',
  'export',
  'exported',
  'drill',
] as const satisfies readonly (keyof Commands)[]

export const AtHost = ({ point, wish }: { point: Point; wish: Wish }) => {
  const isToken = useSignal(false)
  const targets = targetsOf(wish, point, zone.value)
  const disks = point.disks
    .filter(({ name }) => targets.size === 0 || targets.has(name))
    .map(({ name }) => {
      const to = targets.get(name) ?? NOWHERE
      return { disk: name, to: to === NOWHERE ? offered(FOLDER, point, name, zone.value) : to }
    })
  const commands = commandsOf({
    point: point.id,
    machine: point.machine,
    disks,
    folder: `${(wish.folder ?? FOLDER).replace(/\/+$/u, '')}/${point.machine}`,
    gateway: isToken.value ? gatewayAddress(location.href) : null,
  })
  return (
    <details class="panel at-host">
      <summary>{texts.atHost}</summary>
      <p>{isToken.value ? texts.tokenSays : texts.atHostSays}</p>
      <label class="check">
        <input
          type="checkbox"
          checked={isToken.value}
          onChange={(event) => (isToken.value = event.currentTarget.checked)}
        />
        <span>{texts.withToken}</span>
      </label>
      {ORDER.map((kind) => {
        const [title, says] = texts.commands[kind]
        return (
          <section key={kind} aria-label={title}>
            <h3>{title}</h3>
            <p>{says}</p>
            <Copy text={commands[kind]} label={title} />
          </section>
        )
      })}
    </details>
  )
}
