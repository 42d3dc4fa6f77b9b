// Command interop reads a log with Go's transparency log packages, which know nothing of this project.
//
//	interop audit <base URL> <verifier key>   checks everything that a log serves, prints counts as JSON
//	interop notes <file>                      opens the notes of a vector file, prints what came of each
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	var result any
	err := errors.New("usage: interop audit <base URL> <verifier key> | interop notes <file>")
	if len(os.Args) == 4 && os.Args[1] == "audit" {
		result, err = audit(strings.TrimSuffix(os.Args[2], "/"), os.Args[3])
	} else if len(os.Args) == 3 && os.Args[1] == "notes" {
		result, err = notes(os.Args[2])
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type report struct {
	Origin        string `json:"origin"`
	Size          int64  `json:"size"`
	Root          string `json:"root"`
	Tiles         int    `json:"tiles"`
	Bundles       int    `json:"bundles"`
	Entries       int64  `json:"entries"`
	Inclusions    int64  `json:"inclusions"`
	Consistencies int64  `json:"consistencies"`
	Checkpoints   int    `json:"checkpoints"`
	Pairs         int    `json:"pairs"`
}

func audit(url, vkey string) (*report, error) {
	tree, origin, err := openCheckpoint(url+"/checkpoint", vkey)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	log := &log{url: url, tiles: map[string][]byte{}}
	r := &report{Origin: origin, Size: tree.N, Root: tree.Hash.String()}

	// Every tile and bundle, through the reader that checks tiles against the root as clients do.
	checked := tlog.TileHashReader(tree, log)
	var stored storage
	for start := int64(0); start < tree.N; start += 1 << height {
		width := int(min(tree.N-start, 1<<height))
		entries, err := log.readEntries(tlog.Tile{H: height, L: -1, N: start >> height, W: width})
		if err != nil {
			return nil, err
		}
		r.Bundles++
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, start+int64(i)))
		}
		leaves, err := checked.ReadHashes(indexes)
		if err != nil {
			return nil, fmt.Errorf("leaves from %d on: %w", start, err)
		}
		for i, entry := range entries {
			index := start + int64(i)
			if tlog.RecordHash(entry) != leaves[i] {
				return nil, fmt.Errorf("leaf %d: the entry has another hash", index)
			}
			hashes, err := tlog.StoredHashes(index, entry, stored)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
			r.Entries++
		}
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, fmt.Errorf("the entries have the root %v", root)
	}
	for _, tile := range tlog.NewTiles(height, 0, tree.N) {
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return nil, err
		}
		got, err := log.readTile(tile)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(got, want) {
			return nil, fmt.Errorf("%s: other bytes than the entries give", path(tile))
		}
		r.Tiles++
	}

	// Proofs: of all leaves from the entries, which the tiles equal by now, and of some from the tiles.
	for index := int64(0); index < tree.N; index++ {
		readers := []tlog.HashReader{stored}
		if spread(index, tree.N) {
			readers = append(readers, checked)
		}
		for _, reader := range readers {
			proof, err := tlog.ProveRecord(tree.N, index, reader)
			if err != nil {
				return nil, fmt.Errorf("leaf %d: %w", index, err)
			}
			leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return nil, err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf[0]); err != nil {
				return nil, fmt.Errorf("leaf %d: %w", index, err)
			}
		}
		r.Inclusions++
	}
	for size := int64(1); size <= tree.N; size++ {
		old, err := tlog.TreeHash(size, stored)
		if err != nil {
			return nil, err
		}
		readers := []tlog.HashReader{stored}
		if spread(size, tree.N) {
			readers = append(readers, checked)
		}
		for _, reader := range readers {
			if err := consistent(tree, tlog.Tree{N: size, Hash: old}, reader); err != nil {
				return nil, err
			}
		}
		r.Consistencies++
	}
	return r, r.keptCheckpoints(url, vkey, tree, stored)
}

// maxPaired is up to how many kept checkpoints all pairs of them are tried.
const maxPaired = 200

// keptCheckpoints opens every checkpoint that is kept: each is of the log that was read, and each pair consistent; of
// more than maxPaired, each two neighbours, and each with the tree that was read.
func (r *report) keptCheckpoints(url, vkey string, tree tlog.Tree, stored storage) error {
	sizes, err := keptSizes(url, tree.N)
	if err != nil {
		return err
	}
	var kept []tlog.Tree
	for _, size := range sizes {
		one, origin, err := openCheckpoint(fmt.Sprintf("%s/checkpoint/%d", url, size), vkey)
		if err != nil {
			return fmt.Errorf("checkpoint of %d: %w", size, err)
		}
		root, err := tlog.TreeHash(size, stored)
		if err != nil {
			return err
		}
		if one.N != size || one.Hash != root || origin != r.Origin {
			return fmt.Errorf("checkpoint of %d: of another tree", size)
		}
		kept = append(kept, one)
	}
	r.Checkpoints = len(kept)
	for i, newer := range kept {
		from := 0
		if len(kept) > maxPaired {
			from = max(0, i-1)
			if err := consistent(tree, newer, stored); err != nil {
				return err
			}
		}
		for _, older := range kept[from:i] {
			if err := consistent(newer, older, stored); err != nil {
				return err
			}
			r.Pairs++
		}
	}
	return nil
}

// keptSizes asks for the sizes of all kept checkpoints up to n, page by page; that is the collector's own API.
func keptSizes(url string, n int64) ([]int64, error) {
	var sizes []int64
	for from := int64(0); ; {
		data, err := get(fmt.Sprintf("%s/checkpoints?from=%d", url, from), "application/json; charset=utf-8")
		if err != nil {
			return nil, err
		}
		var page struct {
			Sizes []int64 `json:"sizes"`
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return nil, err
		}
		for _, size := range page.Sizes {
			if size < from {
				return nil, errors.New("the sizes of checkpoints do not ascend")
			}
			if size > n {
				return sizes, nil
			}
			sizes = append(sizes, size)
			from = size + 1
		}
		if len(page.Sizes) == 0 {
			return sizes, nil
		}
	}
}

func consistent(newer, older tlog.Tree, reader tlog.HashReader) error {
	if older.N == 0 {
		return nil // of the empty tree there is nothing to prove
	}
	proof, err := tlog.ProveTree(newer.N, older.N, reader)
	if err == nil {
		err = tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash)
	}
	if err != nil {
		return fmt.Errorf("from size %d to %d: %w", older.N, newer.N, err)
	}
	return nil
}

// spread picks all numbers up to 300, about 300 more up to n, and n itself.
func spread(i, n int64) bool {
	return i <= 300 || i == n || i%(n/300+1) == 0
}

func openCheckpoint(url, vkey string) (tlog.Tree, string, error) {
	data, err := get(url, "text/plain; charset=utf-8")
	if err != nil {
		return tlog.Tree{}, "", err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, "", err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, "", errors.New("not three lines")
	}
	if lines[0] != verifier.Name() {
		return tlog.Tree{}, "", errors.New("the origin is not the name of the key")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, "", errors.New("the size is not a decimal")
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, lines[0], err
}

// A log reads tiles over HTTP, each once.
type log struct {
	url   string
	tiles map[string][]byte
}

func (l *log) Height() int { return height }

func (l *log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := l.readTile(tile)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (l *log) SaveTiles([]tlog.Tile, [][]byte) {}

func (l *log) readTile(tile tlog.Tile) ([]byte, error) {
	p := path(tile)
	if data, ok := l.tiles[p]; ok {
		return data, nil
	}
	data, err := get(l.url+"/"+p, "application/octet-stream")
	if err == nil && tile.L >= 0 && len(data) != tile.W*tlog.HashSize {
		err = fmt.Errorf("%s: %d bytes", p, len(data))
	}
	if err != nil {
		return nil, err
	}
	l.tiles[p] = data
	return data, nil
}

func (l *log) readEntries(tile tlog.Tile) ([][]byte, error) {
	data, err := get(l.url+"/"+path(tile), "application/octet-stream")
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) >= 2 && len(data)-2 >= int(binary.BigEndian.Uint16(data)) {
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(data) > 0 || len(entries) != tile.W {
		return nil, fmt.Errorf("%s: not %d entries", path(tile), tile.W)
	}
	return entries, nil
}

// path is the C2SP path of a tile: Go's has the height in it and another word for entries.
func path(tile tlog.Tile) string {
	p := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if tile.L < 0 {
		p = "entries" + strings.TrimPrefix(p, "data")
	}
	return "tile/" + p
}

// storage holds every complete subtree's hash, in Go's order.
type storage []tlog.Hash

func (s storage) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		if index < 0 || index >= int64(len(s)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		hashes = append(hashes, s[index])
	}
	return hashes, nil
}

func get(url, contentType string) ([]byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	if got := response.Header.Get("Content-Type"); err == nil && got != contentType {
		err = fmt.Errorf("%s: content type %q", url, got)
	}
	return data, err
}

type noteResult struct {
	Name       string `json:"name"`
	Result     string `json:"result"`
	Text       string `json:"text"`
	Verified   int    `json:"verified"`
	Unverified int    `json:"unverified"`
}

func notes(file string) ([]noteResult, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var vectors []struct {
		Name  string   `json:"name"`
		Note  []byte   `json:"note"`
		Vkeys []string `json:"vkeys"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		return nil, err
	}
	var results []noteResult
	for _, vector := range vectors {
		var verifiers []note.Verifier
		for _, vkey := range vector.Vkeys {
			verifier, err := note.NewVerifier(vkey)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", vector.Name, err)
			}
			verifiers = append(verifiers, verifier)
		}
		result := noteResult{Name: vector.Name, Result: "ok"}
		opened, err := note.Open(vector.Note, note.VerifierList(verifiers...))
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case err == nil:
			result.Text = base64.StdEncoding.EncodeToString([]byte(opened.Text))
			result.Verified, result.Unverified = len(opened.Sigs), len(opened.UnverifiedSigs)
		case errors.As(err, &unverified):
			result.Result = "untrusted"
		case errors.As(err, &invalid):
			result.Result = "signature"
		default:
			result.Result = "malformed"
		}
		results = append(results, result)
	}
	return results, nil
}
