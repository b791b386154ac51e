// The tests of popups in a browser once more, with a picture of every page.
process.env['SCREENSHOTS'] = '1'
await import('../ci/popup-browser.test.ts')

export {}
