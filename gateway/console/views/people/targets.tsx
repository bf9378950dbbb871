// Where messages go: each target with a test that says what the server answered.
import { useSignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import type { Target } from '../../../../protocol/notify.ts'
import type { Result } from '../../../../protocol/methods.ts'
import { link } from '../../frame/console.ts'
import { Button, ErrorNote, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { countText, durationText } from '../../parts/format.ts'
import type { Column } from '../../parts/table.tsx'
import { noticeActionsOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { AddTarget } from './add-target.tsx'
import { Rows } from './rows.tsx'

const actions = noticeActionsOf(link)

type Test =
  | { readonly kind: 'running'; readonly target: string }
  | { readonly kind: 'done'; readonly target: string; readonly result: Result<'notify.test'> }
  | { readonly kind: 'failed'; readonly error: VarveError }

const whereOf = ({ settings, origin }: Target): string => {
  switch (settings.kind) {
    case 'smtp':
      return settings.to.join(', ')
    case 'webhook':
      return origin ?? '–'
    case 'ntfy':
      return `${settings.url} ${settings.topic}`
    case 'gotify':
      return settings.url
  }
}

const columnsOf = (test: (name: string) => void, remove: (name: string) => void): readonly Column<Target>[] => [
  { name: 'name', title: texts.target.name, cell: ({ name }) => name },
  { name: 'kind', title: texts.target.kind, isExtra: true, cell: ({ settings }) => texts.kinds[settings.kind] },
  {
    name: 'where',
    title: texts.target.where,
    isExtra: true,
    cell: (target) => (
      <span class="stacked">
        <span class="name">{whereOf(target)}</span>
        <small>
          {target.secrets === 'lost' ? <Mark tone="bad">{texts.secrets.lost}</Mark> : texts.secrets[target.secrets]}
        </small>
      </span>
    ),
  },
  {
    name: 'hourly',
    title: texts.target.hourly,
    isNumber: true,
    isExtra: true,
    cell: ({ hourly }) => countText(hourly),
  },
  {
    name: 'actions',
    title: texts.target.actions,
    cell: ({ name }) => (
      <span class="acts">
        {link.may('notify.test') ? (
          <Button label={texts.testOf(name)} onClick={() => test(name)}>
            {texts.test}
          </Button>
        ) : null}
        {link.may('notify.removeTarget') ? (
          <Button kind="danger" label={texts.removeOf(name)} onClick={() => remove(name)}>
            {texts.remove}
          </Button>
        ) : null}
      </span>
    ),
  },
]

const Tested = ({ test }: { test: Test }) => {
  if (test.kind === 'failed') return <ErrorNote error={test.error} />
  if (test.kind === 'running') return <Mark tone="busy">{texts.testing(test.target)}</Mark>
  const { sent, answer, durationMs } = test.result
  return (
    <div class={`note ${sent ? 'good' : 'bad'}`}>
      <Mark tone={sent ? 'good' : 'bad'}>
        {sent ? texts.sent(test.target, durationText(durationMs)) : texts.notSent(test.target)}
      </Mark>{' '}
      {texts.answer} <code>{answer}</code>
    </div>
  )
}

interface TargetsProps {
  readonly targets: readonly Target[]
  readonly onChange: () => Promise<void>
}

export const Targets = ({ targets, onChange }: TargetsProps) => {
  const test = useSignal<Test | null>(null)
  const removing = useSignal<string | null>(null)
  const adding = useSignal(false)
  const run = async (target: string): Promise<void> => {
    test.value = { kind: 'running', target }
    try {
      test.value = { kind: 'done', target, result: await actions.test(target) }
    } catch (thrown) {
      test.value = { kind: 'failed', error: asVarveError(thrown) }
    }
  }
  const removed = removing.value
  return (
    <section class="panel">
      <h2>{texts.targets}</h2>
      <p>{targets.length === 0 ? texts.noTarget : texts.targetsIntro}</p>
      <div role="status">{test.value === null ? null : <Tested test={test.value} />}</div>
      {targets.length === 0 ? null : (
        <Rows
          caption={texts.targetsCaption}
          rows={targets}
          columns={columnsOf(
            (name) => void run(name),
            (name) => (removing.value = name),
          )}
          keyOf={({ name }) => name}
        />
      )}
      {link.may('notify.setTarget') ? (
        <div class="actions">
          <Button onClick={() => (adding.value = true)}>{texts.addTarget}</Button>
        </div>
      ) : null}
      {adding.value ? <AddTarget onAdded={onChange} onClose={() => (adding.value = false)} /> : null}
      {removed === null ? null : (
        <Ask
          title={texts.removeTarget(removed)}
          action={texts.removeAction}
          kind="danger"
          onYes={async () => {
            await actions.removeTarget(removed)
            await onChange()
          }}
          onClose={() => (removing.value = null)}
        >
          <p>{texts.removeTargetIntro}</p>
        </Ask>
      )}
    </section>
  )
}
