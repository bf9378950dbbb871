// One plan in a form: what changes is shown first, with what it would remove, and only that is saved.
import { useSignal } from '@preact/signals'
import { asVarveError, VarveError } from '../../../../protocol/errors.ts'
import type { Plan } from '../../../../protocol/plans.ts'
import { link } from '../../frame/console.ts'
import { Button, ErrorNote, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { applyPlan, removePlan, type Applied } from '../../stores/plans.ts'
import { plans as texts } from '../../texts/plans.ts'
import { changeOf, DraftError, draftOf, type Draft } from './draft.ts'
import { Form } from './form.tsx'
import { WhatIfPanel } from './what-if.tsx'

const { edit } = texts

/** What the gateway said of a draft. */
interface Checked {
  readonly draft: string
  readonly applied: Applied
}

const Difference = ({ applied: { changes, warnings } }: { applied: Applied }) => {
  const fields = changes.flatMap((change) => change.fields)
  if (changes.length === 0) return <p role="status">{edit.nothing}</p>
  return (
    <div role="status">
      <p>{edit.changed}</p>
      <table class="difference">
        <thead>
          <tr>
            <th scope="col">{edit.fields.field}</th>
            <th scope="col">{edit.fields.before}</th>
            <th scope="col">{edit.fields.after}</th>
          </tr>
        </thead>
        <tbody>
          {fields.map(({ field, before, after }) => (
            <tr key={field}>
              <th scope="row">
                <code>{field}</code>
              </th>
              <td>{before ?? edit.unset}</td>
              <td>{after ?? edit.unset}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {warnings.length === 0 ? null : (
        <div class="note warn">
          <strong>{edit.warnings}</strong>
          <ul>
            {warnings.map((warning) => (
              <li key={warning}>
                <Mark tone="warn">{warning}</Mark>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  )
}

interface RemoveProps {
  readonly name: string
  readonly onClose: () => void
  readonly onRemoved: () => void
}

const RemoveAsk = ({ name, onClose, onRemoved }: RemoveProps) => (
  <Ask
    title={edit.removeTitle(name)}
    action={edit.removeAction}
    kind="danger"
    typed={name}
    onClose={onClose}
    onYes={async () => {
      await removePlan(link, name)
      onRemoved()
    }}
  >
    <p>{edit.removeSays}</p>
  </Ask>
)

interface EditorProps {
  /** Null for a new one. */
  readonly plan: Plan | null
  readonly mayEdit: boolean
  /** Whether it was new and has just been saved. */
  readonly isMade: boolean
  readonly onClose: () => void
  readonly onRemoved: () => void
  readonly onSaved: (name: string) => Promise<void>
}

export const Editor = ({ plan, mayEdit, isMade, onClose, onRemoved, onSaved }: EditorProps) => {
  const draft = useSignal<Draft>(draftOf(plan))
  const checked = useSignal<Checked | null>(null)
  const error = useSignal<VarveError | null>(null)
  const isBusy = useSignal(false)
  const isSaved = useSignal(isMade)
  const isRemoving = useSignal(false)
  const text = JSON.stringify(draft.value)
  const apply = async (dryRun: boolean): Promise<void> => {
    isBusy.value = true
    error.value = null
    isSaved.value = false
    try {
      const applied = await applyPlan(link, changeOf(draft.value), dryRun)
      checked.value = dryRun ? { draft: text, applied } : null
      isSaved.value = !dryRun
      if (!dryRun) await onSaved(draft.value.name.trim())
    } catch (thrown) {
      checked.value = null
      error.value =
        thrown instanceof DraftError ? new VarveError('PARAMS_INVALID', thrown.message) : asVarveError(thrown)
    }
    isBusy.value = false
  }
  const isFresh = checked.value?.draft === text
  const maySave = isFresh && checked.value!.applied.changes.length > 0
  return (
    <section class="panel editor" aria-labelledby="editor-title">
      <h2 id="editor-title">{plan === null ? edit.fresh : edit.title(plan.name)}</h2>
      {mayEdit ? null : <p class="quiet">{edit.readOnly}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void apply(true)
        }}
      >
        <Form draft={draft} isNew={plan === null} isFixed={!mayEdit} />
        {plan === null || !link.may('points.prune') ? null : <WhatIfPanel plan={plan.name} draft={draft} />}
        {checked.value === null ? null : <Difference applied={checked.value.applied} />}
        {checked.value !== null && !isFresh ? (
          <p>
            <Mark tone="warn">{edit.stale}</Mark>
          </p>
        ) : null}
        {isSaved.value ? (
          <p role="status">
            <Mark tone="good">{edit.saved}</Mark>
          </p>
        ) : null}
        {error.value === null ? null : <ErrorNote error={error.value} />}
        <div class="actions">
          {plan === null || !mayEdit ? null : (
            <Button kind="danger" onClick={() => (isRemoving.value = true)}>
              {edit.remove}
            </Button>
          )}
          <Button onClick={onClose}>{edit.close}</Button>
          {mayEdit ? (
            <>
              <Button type="submit" disabled={isBusy.value} kind={maySave ? 'plain' : 'main'}>
                {edit.check}
              </Button>
              <Button
                kind={maySave ? 'main' : 'plain'}
                disabled={!maySave || isBusy.value}
                onClick={() => void apply(false)}
              >
                {edit.save}
              </Button>
            </>
          ) : null}
        </div>
      </form>
      {plan === null || !isRemoving.value ? null : (
        <RemoveAsk name={plan.name} onClose={() => (isRemoving.value = false)} onRemoved={onRemoved} />
      )}
    </section>
  )
}
