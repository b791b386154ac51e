import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { TAP, Test } from 'tap'
import { findProgram } from './find-program.ts'
import { rememberSecrets } from './logs.ts'

/** Whether the tests keep pictures of the pages: with `SCREENSHOTS=1`. Taking a picture takes longer than anything else in a browser. */
export const takesScreenshots = process.env['SCREENSHOTS'] === '1'

/** The folder of the screenshots, for a person to look at. */
export const screenshotFolder = fileURLToPath(new URL('../../.tap/screenshots/', import.meta.url))

/** Finds the Chromium on PATH, or null. */
export function findChromium (): string | null {
  return findProgram('chromium-headless-shell', 'chrome-headless-shell', 'chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome')
}

/** Starts a Chromium that can reach only loopback, also by names that end in localhost or test. It ends with this process at the latest. */
export async function startChromium (): Promise<Browser> {
  const executablePath = findChromium()
  if (executablePath === null) throw new Error('No chromium on PATH: install it, or ask findChromium() first')
  // Several files of tests take pictures at the same time, so none of them empties the folder.
  if (takesScreenshots) mkdirSync(screenshotFolder, { recursive: true })
  return await chromium.launch({
    executablePath,
    // With its sandbox, Chromium starts neither as root nor where user namespaces are forbidden. It shows only pages of the tests.
    chromiumSandbox: false,
    args: [
      '--disable-dev-shm-usage',
      '--no-proxy-server',
      '--host-resolver-rules=MAP localhost 127.0.0.1, MAP *.localhost 127.0.0.1, MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
    ]
  })
}

/** A person with a browser profile of their own. */
export interface Person {
  readonly context: BrowserContext
  /** The first tab. */
  readonly page: Page
  /** Opens one more tab. */
  newTab (): Promise<Page>
  /** Lists what went wrong in any tab: answers with 5xx, scripts that failed, complaints of the browser. */
  troubles (): Promise<string[]>
}

/** Gives a person a fresh profile, which ends with the test. */
export async function newPerson (t: Test, browser: Browser, options: BrowserContextOptions = {}): Promise<Person> {
  const context = await browser.newContext({ viewport: { width: 1024, height: 768 }, ...options })
  t.teardown(() => context.close())
  const found: string[] = []
  context.on('response', (response) => {
    if (response.status() >= 500) found.push(`${response.status()} ${new URL(response.url()).pathname}`)
  })
  context.on('console', (message) => {
    // The tests judge the statuses of pages. Anything else, such as a breach of a page's own policy, is wrong.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource: the server responded with')) found.push(message.text())
  })
  context.on('weberror', (error) => { found.push(String(error.error())) })
  return {
    context,
    page: await context.newPage(),
    newTab: () => context.newPage(),
    async troubles () {
      // The messages of a tab arrive before its answer.
      for (const page of context.pages()) await page.evaluate('0')
      return found
    }
  }
}

/** Options of one play. */
export interface PlayOptions {
  readonly profile?: BrowserContextOptions
  /** The errors in the browser that belong to the play, such as an answer with a 5xx. */
  readonly expected?: readonly string[]
}

/**
 * Starts one browser for the tests of a file, and returns `play`, which defines a test. In the test, a person uses servers that
 * the test has started. The test fails if an error occurs in the browser that is neither expected nor harmless.
 */
export function createPlay<Options extends PlayOptions, Servers extends object> (t: TAP, startServers: (t: Test, options: Options) => Promise<Servers>, isHarmless: (trouble: string) => boolean = () => false) {
  // A test mostly waits for pages, so several tests run at once.
  t.jobs = 3
  let browser: Browser
  t.before(async () => { browser = await startChromium() })
  t.teardown(() => browser.close())
  return (title: string, options: Options, act: (t: Test, stage: Person & Servers) => Promise<void>) => t.test(title, async (t) => {
    const servers = await startServers(t, options)
    const person = await newPerson(t, browser, options.profile)
    await act(t, { ...person, ...servers })
    const troubles = (await person.troubles()).filter((trouble) => !isHarmless(trouble))
    t.strictSame(troubles.sort(), [...options.expected ?? []].sort(), 'nothing went wrong in the browser')
    for (const { value } of await person.context.cookies()) rememberSecrets(value)
  })
}

/** Blocks third-party cookies in a tab, as browsers do or will do by default, from the next page that it loads. */
export async function blockThirdPartyCookies (page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  await session.send('Network.setCookieControls', { enableThirdPartyCookieRestriction: true })
}

/** Presses the button or follows the link with this name, and waits for the page at the end of all redirects. */
export async function press (page: Page, name: string): Promise<void> {
  const loaded = page.waitForEvent('load')
  await page.locator('button, a').filter({ hasText: new RegExp(`^${name}$`) }).first().click()
  await loaded
}

/** Keeps a picture of the whole page, with `SCREENSHOTS=1`. */
export async function takeScreenshot (page: Page, name: string): Promise<void> {
  if (!takesScreenshots) return
  await page.screenshot({ path: join(screenshotFolder, `${name}.png`), fullPage: true })
}

/** Keeps pictures of the whole page on a desktop and on a phone, in light and in dark, where pictures are asked for. */
export async function takeScreenshots (page: Page, name: string): Promise<void> {
  if (!takesScreenshots) return
  const size = page.viewportSize()
  for (const [device, viewport] of Object.entries({ desktop: { width: 1024, height: 768 }, phone: { width: 360, height: 740 } })) {
    await page.setViewportSize(viewport)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      await takeScreenshot(page, `${name}-${device}-${colorScheme}`)
    }
  }
  await page.emulateMedia({ colorScheme: null })
  if (size !== null) await page.setViewportSize(size)
}
