// Agents: which are connected, what each one is, and putting them into sites or out for good.
import { useSignal } from '@preact/signals'
import { link } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { to } from '../../frame/route.ts'
import { Button, Empty, Field, Mark } from '../../parts/basics.tsx'
import { Ask, Dialog } from '../../parts/dialog.tsx'
import { countText, durationText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { actionsOf, agentsOf, type Agent } from '../../stores/people.ts'
import { agents as texts, people } from '../../texts/people.ts'
import {
  AGENT_STATES,
  AGENT_TONES,
  agentState,
  inOrder,
  LAG_SLOW_MS,
  SKEW_WRONG_MS,
  type AgentState,
} from './agent-state.ts'
import { Cut, Past, Read } from './shown.tsx'

const AGENTS = agentsOf(link)
const actions = actionsOf(link)

/** What is asked about an agent. */
type Asking = { readonly kind: 'site' | 'revoke' | 'relay'; readonly agent: Agent } | null

const isState = (text: string | undefined): text is AgentState =>
  (AGENT_STATES as readonly (string | undefined)[]).includes(text)

/** Name and version without the name that all have. */
const versionText = (program: string): string => program.replace(/^varve-agent\//u, '')

const State = ({ agent }: { agent: Agent }) => {
  const state = agentState(agent)
  const { link: session, seenMs, revokedMs } = agent
  return (
    <span class="stacked">
      <Mark tone={AGENT_TONES[state]}>{texts.states[state]}</Mark>
      {state === 'never' ? null : (
        <small>
          {state === 'away' ? texts.seen : texts.since}{' '}
          <Past timeMs={state === 'revoked' ? revokedMs : (session?.sinceMs ?? seenMs)} />
        </small>
      )}
    </span>
  )
}

const Lag = ({ agent: { link: session } }: { agent: Agent }) => {
  const lagMs = session?.lagMs ?? null
  if (lagMs === null) return <span class="quiet">–</span>
  const text = texts.ms(countText(lagMs))
  return lagMs < LAG_SLOW_MS ? <span>{text}</span> : <Mark tone="warn">{`${text}, ${texts.slow}`}</Mark>
}

const Clock = ({ agent: { link: session } }: { agent: Agent }) => {
  const skewMs = session?.skewMs ?? null
  if (skewMs === null) return <span class="quiet">–</span>
  if (Math.abs(skewMs) < 1000) return <span>{texts.clockGood}</span>
  const span = durationText(Math.abs(skewMs))
  const text = skewMs > 0 ? texts.clockAhead(span) : texts.clockBehind(span)
  return Math.abs(skewMs) < SKEW_WRONG_MS ? <span>{text}</span> : <Mark tone="bad">{text}</Mark>
}

const columnsOf = (ask: (asking: Asking) => void): readonly Column<Agent>[] => [
  { name: 'host', title: texts.columns.host, cell: ({ host }) => <span class="name">{host}</span> },
  { name: 'state', title: texts.columns.state, cell: (agent) => <State agent={agent} /> },
  {
    name: 'version',
    title: texts.columns.version,
    isExtra: true,
    cell: ({ link: session }) => (session === null ? <span class="quiet">–</span> : versionText(session.program)),
  },
  { name: 'lag', title: texts.columns.lag, isExtra: true, isNumber: true, cell: (agent) => <Lag agent={agent} /> },
  { name: 'clock', title: texts.columns.clock, isExtra: true, cell: (agent) => <Clock agent={agent} /> },
  {
    name: 'machines',
    title: texts.columns.machines,
    isNumber: true,
    isExtra: true,
    cell: ({ link: session }) =>
      session === null || session.machines === null ? <span class="quiet">–</span> : countText(session.machines),
  },
  { name: 'site', title: texts.columns.site, isExtra: true, cell: ({ site }) => site ?? <span class="quiet">–</span> },
  {
    name: 'relay',
    title: texts.columns.relay,
    isExtra: true,
    cell: (agent) => {
      const relay = agent.link?.relay ?? null
      if (relay === null) return <span class="quiet">{texts.unknown}</span>
      const count = texts.commands(relay.commands.length + relay.more)
      return (
        <Button label={texts.showCommands(count, agent.host)} onClick={() => ask({ kind: 'relay', agent })}>
          {count}
        </Button>
      )
    },
  },
  {
    name: 'actions',
    title: texts.columns.actions,
    cell: (agent) =>
      agent.revokedMs !== null ? null : (
        <span class="acts">
          {link.may('agents.setSite') ? (
            <Button label={texts.siteActionOf(agent.host)} onClick={() => ask({ kind: 'site', agent })}>
              {texts.siteAction}
            </Button>
          ) : null}
          {link.may('agents.revoke') ? (
            <Button
              kind="danger"
              label={texts.revokeActionOf(agent.host)}
              onClick={() => ask({ kind: 'revoke', agent })}
            >
              {texts.revokeAction}
            </Button>
          ) : null}
        </span>
      ),
  },
]

const SiteAsked = ({ agent, onClose }: { agent: Agent; onClose: () => void }) => {
  const site = useSignal(agent.site ?? '')
  const set = async (): Promise<void> => {
    const given = site.value.trim()
    await actions.setSite(agent.id, given === '' ? null : given)
    await AGENTS.refresh()
  }
  return (
    <Ask title={texts.siteOf(agent.host)} action={texts.setSite} onYes={set} onClose={onClose}>
      <p>{texts.siteIntro}</p>
      <Field
        label={texts.site}
        value={site.value}
        autocomplete="off"
        onInput={(event) => (site.value = event.currentTarget.value)}
      />
    </Ask>
  )
}

const RevokeAsked = ({ agent, onClose }: { agent: Agent; onClose: () => void }) => (
  <Ask
    title={texts.revokeTitle(agent.host)}
    action={texts.revoke}
    kind="danger"
    typed={agent.host}
    onYes={async () => {
      await actions.revokeAgent(agent.id)
      await AGENTS.refresh()
    }}
    onClose={onClose}
  >
    <p>{texts.revokeIntro(agent.link === null ? texts.unknown : countText(agent.link.machines ?? 0))}</p>
  </Ask>
)

const Relayed = ({ agent, onClose }: { agent: Agent; onClose: () => void }) => {
  const { commands, more } = agent.link?.relay ?? { commands: [], more: 0 }
  return (
    <Dialog title={texts.commandsOf(agent.host)} onClose={onClose}>
      <form method="dialog">
        {commands.length === 0 ? <p>{texts.noCommands}</p> : <p>{texts.commandsIntro}</p>}
        <ul class="commands" tabIndex={0}>
          {commands.map((command) => (
            <li key={command}>
              <code>{command}</code>
            </li>
          ))}
        </ul>
        {more === 0 ? null : <p>{texts.more(more)}</p>}
        <div class="actions">
          <Button type="submit">{people.close}</Button>
        </div>
      </form>
    </Dialog>
  )
}

const Tiles = ({ agents, chosen }: { agents: readonly Agent[]; chosen: AgentState | null }) => {
  const counts = new Map(AGENT_STATES.map((state) => [state, agents.filter((one) => agentState(one) === state).length]))
  const shown = AGENT_STATES.filter((state) => counts.get(state)! > 0 || state === 'connected' || state === chosen)
  return (
    <div class="tiles">
      <button class="tile" type="button" aria-pressed={chosen === null} onClick={() => filter({ state: null })}>
        <strong>{countText(agents.length)}</strong>
        {texts.all}
      </button>
      {shown.map((state) => (
        <button
          key={state}
          class="tile"
          type="button"
          aria-pressed={chosen === state}
          onClick={() => filter({ state: chosen === state ? null : state })}
        >
          <strong>{countText(counts.get(state)!)}</strong>
          <Mark tone={AGENT_TONES[state]}>{texts.states[state]}</Mark>
        </button>
      ))}
    </div>
  )
}

const List = ({ agents, isCut }: { agents: readonly Agent[]; isCut: boolean }) => {
  const asking = useSignal<Asking>(null)
  const given = route.value.query['state']
  const state = isState(given) ? given : null
  const rows = inOrder(agents).filter((agent) => state === null || agentState(agent) === state)
  const close = (): void => {
    asking.value = null
  }
  const { kind, agent } = asking.value ?? { kind: null, agent: null }
  return (
    <>
      <Tiles agents={agents} chosen={state} />
      <Cut isCut={isCut} />
      {rows.length === 0 ? (
        <Empty title={texts.noMatch}>
          <Button onClick={() => filter({ state: null })}>{texts.showAll}</Button>
        </Empty>
      ) : (
        <Table
          caption={texts.caption}
          rows={rows}
          columns={columnsOf((one) => (asking.value = one))}
          keyOf={({ id }) => id}
          rowHeight={52}
        />
      )}
      {kind === 'site' ? <SiteAsked agent={agent} onClose={close} /> : null}
      {kind === 'revoke' ? <RevokeAsked agent={agent} onClose={close} /> : null}
      {kind === 'relay' ? <Relayed agent={agent} onClose={close} /> : null}
    </>
  )
}

export const Agents = () => {
  const agents = useWatched(AGENTS)
  return (
    <Read of={agents}>
      {({ rows, isCut }) =>
        rows.length === 0 ? (
          <Empty title={texts.empty}>
            <p>{texts.emptyHint}</p>
            {link.may('enrolments.issue') ? <a href={to('people', ['enrol'])}>{people.names.enrol}</a> : null}
          </Empty>
        ) : (
          <List agents={rows} isCut={isCut} />
        )
      }
    </Read>
  )
}
