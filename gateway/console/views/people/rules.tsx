// Rules: what is told to whom; a simple one can be added here, any one on the command line.
import { useSignal } from '@preact/signals'
import { VarveError } from '../../../../protocol/errors.ts'
import type { Severity } from '../../../../protocol/events.ts'
import type { Rule, Target } from '../../../../protocol/notify.ts'
import { link } from '../../frame/console.ts'
import { Button, Field } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { durationText } from '../../parts/format.ts'
import type { Column } from '../../parts/table.tsx'
import { noticeActionsOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { matchOf, matchText } from './match-text.ts'
import { MatchFields } from './match-fields.tsx'
import { Rows } from './rows.tsx'

const actions = noticeActionsOf(link)

const columnsOf = (remove: (name: string) => void): readonly Column<Rule>[] => [
  { name: 'name', title: texts.rule.name, cell: ({ name }) => name },
  { name: 'match', title: texts.rule.match, cell: ({ match }) => matchText(match) },
  { name: 'targets', title: texts.rule.targets, cell: ({ targets }) => targets.join(', ') },
  {
    name: 'quiet',
    title: texts.rule.quiet,
    isExtra: true,
    cell: ({ quiet }) => (quiet === null ? texts.noQuiet : texts.quiet(quiet.window, quiet.timeZone)),
  },
  {
    name: 'repeat',
    title: texts.rule.repeat,
    isExtra: true,
    cell: ({ repeatMs }) => (repeatMs === null ? texts.never : durationText(repeatMs)),
  },
  {
    name: 'actions',
    title: texts.rule.actions,
    cell: ({ name }) =>
      link.may('notify.removeRule') ? (
        <Button kind="danger" label={texts.removeOf(name)} onClick={() => remove(name)}>
          {texts.remove}
        </Button>
      ) : null,
  },
]

interface AddProps {
  readonly targets: readonly Target[]
  readonly onAdded: () => Promise<void>
  readonly onClose: () => void
}

const Add = ({ targets, onAdded, onClose }: AddProps) => {
  const name = useSignal('')
  const severity = useSignal<Severity>('warning')
  const machines = useSignal('')
  const chosen = useSignal<readonly string[]>(targets.length === 1 ? targets.map((target) => target.name) : [])
  const add = async (): Promise<void> => {
    if (chosen.value.length === 0) throw new VarveError('PARAMS_INVALID', texts.noTargetChosen)
    const match = matchOf({ severity: severity.value, machines: machines.value })
    const rule = { rule: name.value.trim(), match, targets: [...chosen.value], quiet: null, repeatMs: null }
    await actions.setRule(rule)
    await onAdded()
  }
  return (
    <Ask title={texts.addRuleTitle} action={texts.addAction} onYes={add} onClose={onClose}>
      <Field
        label={texts.rule.name}
        value={name.value}
        required
        autocomplete="off"
        onInput={(event) => (name.value = event.currentTarget.value)}
      />
      <MatchFields severity={severity} machines={machines} />
      <fieldset>
        <legend>{texts.toTargets}</legend>
        {targets.map((target) => (
          <label key={target.name} class="check">
            <input
              type="checkbox"
              checked={chosen.value.includes(target.name)}
              onChange={(event) => {
                const others = chosen.value.filter((one) => one !== target.name)
                chosen.value = event.currentTarget.checked ? [...others, target.name] : others
              }}
            />
            {target.name}
          </label>
        ))}
      </fieldset>
    </Ask>
  )
}

interface RulesProps {
  readonly rules: readonly Rule[]
  readonly targets: readonly Target[]
  readonly onChange: () => Promise<void>
}

export const Rules = ({ rules, targets, onChange }: RulesProps) => {
  const adding = useSignal(false)
  const removing = useSignal<string | null>(null)
  const removed = removing.value
  return (
    <section class="panel">
      <h2>{texts.rules}</h2>
      {rules.length === 0 ? (
        <p>{texts.noRule}</p>
      ) : (
        <Rows
          caption={texts.rulesCaption}
          rows={rules}
          columns={columnsOf((name) => (removing.value = name))}
          keyOf={({ name }) => name}
        />
      )}
      {link.may('notify.setRule') && targets.length > 0 ? (
        <div class="actions">
          <Button onClick={() => (adding.value = true)}>{texts.addRule}</Button>
        </div>
      ) : null}
      {adding.value ? <Add targets={targets} onAdded={onChange} onClose={() => (adding.value = false)} /> : null}
      {removed === null ? null : (
        <Ask
          title={texts.removeRule(removed)}
          action={texts.removeAction}
          kind="danger"
          onYes={async () => {
            await actions.removeRule(removed)
            await onChange()
          }}
          onClose={() => (removing.value = null)}
        >
          <p>{texts.removeRuleIntro}</p>
        </Ask>
      )}
    </section>
  )
}
