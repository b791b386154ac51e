// The tests of extensions and of the demo in a browser once more, with a picture of every page.
process.env['SCREENSHOTS'] = '1'
await import('../ci/extension-browser.test.ts')

export {}
