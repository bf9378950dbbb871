// Tokens: who has one and until when, issuing one that is shown once, and revoking; for the platform its signing keys, too.
import { useSignal, type Signal } from '@preact/signals'
import { PERSON_ROLES, type PersonRole } from '../../../../protocol/claims.ts'
import { link, nowMs } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Ago, Button, Empty, Field, Mark, Select, type Tone } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { DAY_MS } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { actionsOf, tokensOf, type Token } from '../../stores/people.ts'
import { people, tokens as texts } from '../../texts/people.ts'
import { Keys } from './keys.tsx'
import { Cut, LIFETIMES, lifetimeChoices, Past, Read, type Lifetime } from './shown.tsx'

const actions = actionsOf(link)

/** How long before its end a token says so, in milliseconds. */
const ENDING_MS = 7 * DAY_MS

type TokenState = keyof (typeof texts)['states']

const TONES: Readonly<Record<TokenState, Tone>> = { good: 'good', ending: 'warn', expired: 'quiet', revoked: 'quiet' }

const stateOf = ({ revokedMs, expiresMs }: Token, now: number): TokenState => {
  if (revokedMs !== null) return 'revoked'
  if (expiresMs <= now) return 'expired'
  return expiresMs - now < ENDING_MS ? 'ending' : 'good'
}

const columnsOf = (revoke: (token: Token) => void): readonly Column<Token>[] => [
  { name: 'subject', title: texts.columns.subject, cell: ({ subject }) => <span class="name">{subject}</span> },
  { name: 'role', title: texts.columns.role, cell: ({ role }) => role },
  {
    name: 'state',
    title: texts.columns.state,
    cell: (token) => {
      const state = stateOf(token, nowMs.value)
      return <Mark tone={TONES[state]}>{texts.states[state]}</Mark>
    },
  },
  {
    name: 'created',
    title: texts.columns.created,
    isExtra: true,
    cell: ({ createdMs }) => <Past timeMs={createdMs} />,
  },
  { name: 'ends', title: texts.columns.ends, isExtra: true, cell: ({ expiresMs }) => <Ago timeMs={expiresMs} /> },
  {
    name: 'actions',
    title: texts.columns.actions,
    cell: (token) => {
      const state = stateOf(token, nowMs.value)
      if (!link.may('tokens.revoke') || state === 'revoked' || state === 'expired') return null
      return (
        <Button kind="danger" label={texts.revokeActionOf(token.subject)} onClick={() => revoke(token)}>
          {texts.revokeAction}
        </Button>
      )
    },
  },
]

interface IssuedToken {
  readonly subject: string
  readonly token: string
}

interface IssueProps {
  /** The tenant that the platform names; null for the session's own, or none. */
  readonly tenant: string | null
  readonly onIssued: (issued: IssuedToken) => Promise<void>
  readonly onClose: () => void
}

const Issue = ({ tenant, onIssued, onClose }: IssueProps) => {
  const isPlatform = link.person.value?.tenant === null
  const roles = PERSON_ROLES.filter((role) => (role === 'platform') === (isPlatform && tenant === null))
  const subject = useSignal('')
  const role = useSignal<PersonRole>(roles.includes('viewer') ? 'viewer' : roles[0]!)
  const life = useSignal<Lifetime>('month')
  const issue = async (): Promise<void> => {
    const asked = { subject: subject.value.trim(), role: role.value, ttlMs: LIFETIMES[life.value] }
    const { token } = await actions.issueToken(tenant === null ? asked : { ...asked, tenant })
    await onIssued({ subject: asked.subject, token })
  }
  return (
    <Ask title={texts.issueTitle} action={texts.issueAction} onYes={issue} onClose={onClose}>
      <Field
        label={texts.subject}
        hint={texts.subjectHint}
        value={subject.value}
        required
        maxLength={256}
        autocomplete="off"
        onInput={(event) => (subject.value = event.currentTarget.value)}
      />
      <Select
        label={texts.columns.role}
        value={role.value}
        choices={roles.map((value) => ({ value, text: texts.roles[value] }))}
        onChoose={(value) => (role.value = value as PersonRole)}
      />
      <Select
        label={people.lifetime}
        value={life.value}
        choices={lifetimeChoices(['hour', 'day', 'week', 'month', 'quarter'])}
        onChoose={(value) => (life.value = value as Lifetime)}
      />
    </Ask>
  )
}

/** A token that was just issued, until the person has it. */
const Issued = ({ issued }: { issued: Signal<IssuedToken | null> }) => {
  if (issued.value === null) return null
  return (
    <section class="panel" role="status">
      <h2>{texts.issued(issued.value.subject)}</h2>
      <p>
        <Mark tone="warn">{texts.once}</Mark>
      </p>
      <Copy text={issued.value.token} label={texts.issued(issued.value.subject)} />
      <div class="actions">
        <Button onClick={() => (issued.value = null)}>{texts.done}</Button>
      </div>
    </section>
  )
}

export const Tokens = () => {
  const { tenant = null, all } = route.value.query
  const isPlatform = link.person.value?.tenant === null
  const named = isPlatform ? tenant : null
  const tokens = useWatched(useMade(() => tokensOf(link, named), named ?? ''))
  const issuing = useSignal(false)
  const issued = useSignal<IssuedToken | null>(null)
  const revoking = useSignal<Token | null>(null)
  const revoked = revoking.value
  return (
    <>
      <div class="toolbar">
        {isPlatform ? (
          <Field
            label={texts.of}
            value={named ?? ''}
            placeholder={people.platform}
            autocomplete="off"
            onChange={(event) => filter({ tenant: event.currentTarget.value.trim() })}
          />
        ) : null}
        <label class="check">
          <input
            type="checkbox"
            checked={all === 'yes'}
            onChange={(event) => filter({ all: event.currentTarget.checked ? 'yes' : null })}
          />
          {texts.showEnded}
        </label>
        {link.may('tokens.issue') ? (
          <Button kind="main" onClick={() => (issuing.value = true)}>
            {texts.issue}
          </Button>
        ) : null}
      </div>
      <Issued issued={issued} />
      <Read of={tokens}>
        {({ rows, isCut }) => {
          const shown = rows
            .filter((token) => all === 'yes' || !['expired', 'revoked'].includes(stateOf(token, nowMs.value)))
            .toSorted((one, other) => other.createdMs - one.createdMs)
          return (
            <>
              <Cut isCut={isCut} />
              {shown.length === 0 ? (
                <Empty title={texts.empty}>
                  <p>{texts.emptyHint}</p>
                </Empty>
              ) : (
                <Table
                  caption={texts.caption}
                  rows={shown}
                  columns={columnsOf((token) => (revoking.value = token))}
                  keyOf={({ id }) => id}
                />
              )}
            </>
          )
        }}
      </Read>
      {link.may('keys.list') && named === null ? <Keys /> : null}
      {issuing.value ? (
        <Issue
          tenant={named}
          onIssued={async (one) => {
            issued.value = one
            await tokens.refresh()
          }}
          onClose={() => (issuing.value = false)}
        />
      ) : null}
      {revoked === null ? null : (
        <Ask
          title={texts.revokeTitle(revoked.subject)}
          action={texts.revoke}
          kind="danger"
          onYes={async () => {
            await actions.revokeToken(revoked.id)
            await tokens.refresh()
          }}
          onClose={() => (revoking.value = null)}
        >
          <p>{texts.revokeIntro}</p>
        </Ask>
      )}
    </>
  )
}
