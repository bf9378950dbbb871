// The console: signs in by the link's code or what this tab has kept, then shows the view that the address names.
import './style/main.css'
import { effect, untracked } from '@preact/signals'
import { render } from 'preact'
import { App } from './frame/app.tsx'
import { link } from './frame/console.ts'
import { loginCode } from './frame/router.ts'

link.resume()
effect(() => {
  const code = loginCode.value
  // who is signed in already, or about to be, is asked first
  if (code === null || link.state.value.kind !== 'out') return
  untracked(() => {
    loginCode.value = null
    void link.signIn({ code }, true).catch(() => null)
  })
})

render(<App />, document.querySelector('#console')!)
