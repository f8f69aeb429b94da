// Beam search over many sentences: what sightline's decoding/beam.py does, with its rules and its order among equals. Sentences
// that are done make room for waiting ones at once; none depends on the others.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "model.h"

namespace sightline {

enum class LengthNorm : int32_t { none, average, wu };

// What DecodingSettings say; runtime/native.py fills the same fields in the same order.
struct Settings {
    int32_t beam, n_best, min_len;
    int32_t stop_at_first;  // as soon as `beam` hypotheses are finished; else exactly when none can still win
    LengthNorm norm;
    int32_t rows;  // hypotheses that are computed together, if there are as many
    double penalty;

    double divisor(int length) const {
        switch (norm) {
            case LengthNorm::average: return std::pow(length, penalty);
            case LengthNorm::wu: return std::pow((5.0 + length) / 6.0, penalty);
            default: return 1.0;
        }
    }
    double best_score(double log_prob, int length, int limit) const {
        return log_prob / std::max(divisor(length + 1), divisor(limit));
    }
};

struct Hypothesis {
    std::vector<int32_t> tokens;         // without the end
    std::vector<float> token_log_probs;  // with that of the end, if it is finished
    bool finished = false;
    double score = 0;
};

// The most probable next tokens of a row, best first and of equals the lower token, and what turns logits into log-probabilities.
class Best {
   public:
    void clear(int count) {
        wanted = count;
        parts.clear();
        found.clear();
    }
    // `n` more logits (a multiple of W), of the tokens from `first` on; those from `vocab` on are none.
    void see(float* logits, int n, int first, int vocab, const int32_t* forbidden, int n_forbidden) {
        for (int i = std::max(0, vocab - first); i < n; i++) logits[i] = -INFINITY;
        vf highest = all(-INFINITY), sums = all(0);
        for (int i = 0; i < n; i += W) highest = max(highest, load(logits + i));
        const float most = largest(highest);
        for (int i = 0; i < n; i += W) sums += roughly_exp(load(logits + i) - most);
        parts.push_back({most, sum(sums)});
        for (int i = 0; i < n_forbidden; i++)
            if (forbidden[i] >= first && forbidden[i] < first + n) logits[forbidden[i] - first] = -INFINITY;
        float bar = full() ? found.back().first : -INFINITY;
        if (!(most > bar)) return;
        for (int i = 0; i < n; i += W) {
            if (!any_above(load(logits + i), bar)) continue;
            for (int j = i; j < i + W; j++)
                if (logits[j] > bar) {
                    insert(logits[j], first + j);
                    bar = full() ? found.back().first : -INFINITY;
                }
        }
    }
    // What another has seen of later tokens.
    void join(const Best& later) {
        parts.insert(parts.end(), later.parts.begin(), later.parts.end());
        for (auto [logit, token] : later.found)
            if (!full() || logit > found.back().first) insert(logit, token);
    }
    // The logarithm of the sum of all exp(logit); added up part by part, so that it is the same whoever has seen the parts.
    float log_sum() const {
        float most = -INFINITY, total = 0;
        for (auto& part : parts) most = std::max(most, part.first);
        for (auto& part : parts) total += part.second * std::exp(part.first - most);
        return most + std::log(total);
    }
    std::vector<std::pair<float, int32_t>> found;

   private:
    std::vector<std::pair<float, float>> parts;  // the largest logit of each part of the vocabulary, and the sum of exp(logit - that)
    int wanted = 0;

    bool full() const { return int(found.size()) == wanted; }
    static bool any_above(vf x, float bar) {
        vi above = x > bar;
        int32_t found = 0;
        for (int i = 0; i < W; i++) found |= above[i];
        return found;
    }
    void insert(float logit, int32_t token) {
        if (full()) found.pop_back();
        auto place = found.end();
        while (place != found.begin() && std::prev(place)->first < logit) --place;
        found.insert(place, {logit, token});
    }
};

// An unfinished hypothesis.
struct Row {
    float log_prob;
    std::vector<int32_t> tokens;
    std::vector<float> token_log_probs;
    std::vector<int32_t> path;  // at each step, the place that it or its ancestor has written
};

// A sentence that is being translated. T is the kind of number that keys and values are kept as.
template <class T>
struct Sentence {
    int number, length, limit;              // its place among all, its source tokens, the most steps
    std::vector<KeyValueCache<T>> source, target;  // of each layer; the places of the target are step * beam + column
    int steps = 0;
    std::vector<Row> rows;
    std::vector<Hypothesis> finished;
    Matrix output;  // for the tokens of its shortlist, if it has one
};

// What is to be translated, and where the results go; threads take sentences from it in order.
struct Work {
    const Model& model;
    const Settings settings;
    const int32_t *sources, *lengths, *limits;  // sources one after another
    const int32_t *allowed, *allowed_counts;    // the shortlists one after another, each ascending; none: all tokens
    const int count, threads;
    const volatile int32_t* const stop;  // becomes 1 when nobody wants the results any more
    std::vector<size_t> starts, allowed_starts;
    std::vector<std::vector<Hypothesis>> results;
    std::atomic<int> next{0};

    Work(const Model& of, const Settings& by, const int32_t* given, const int32_t* given_lengths, const int32_t* given_limits,
         const int32_t* given_allowed, const int32_t* given_allowed_counts, int n, int n_threads, const int32_t* stop_at)
        : model(of), settings(by), sources(given), lengths(given_lengths), limits(given_limits), allowed(given_allowed),
          allowed_counts(given_allowed_counts), count(n), threads(n_threads), stop(stop_at), results(n) {
        size_t at = 0, allowed_at = 0;
        for (int i = 0; i < n; i++) {
            starts.push_back(at), at += lengths[i];
            if (allowed) allowed_starts.push_back(allowed_at), allowed_at += allowed_counts[i];
        }
    }
    const int32_t* shortlist(int number) const { return allowed + allowed_starts[number]; }
};

template <class T>
class Search {
    static constexpr int TOKENS = 256;  // of sources that are encoded together: their activations stay in the cache

   public:
    // `inside` threads share each product.
    Search(Work& given, int inside) : work(given), model(given.model), shape(given.model.shape), settings(given.settings), team(inside), space(team) {}

    void run() {
        const int most = std::max(1, settings.rows / settings.beam);
        for (;;) {
            const int places = most - int(active.size());
            if (active.empty() || places >= (most + 3) / 4) admit(places);
            if (active.empty() || *work.stop) return;
            step();
        }
    }

   private:
    Work& work;
    const Model& model;
    const Shape& shape;
    const Settings& settings;
    std::vector<std::unique_ptr<Sentence<T>>> active, spare;
    Team team;
    Workspace space;
    KeyValueCache<float> memory;  // of a sentence that is being encoded
    Buffer<float> x, logits;
    std::vector<std::vector<Best>> found_by;  // of each thread, for each row

    // Take waiting sentences into the batch, as many as there are places, but no more than this thread's share of what is left.
    void admit(int places) {
        const int left = std::max(0, work.count - work.next.load());
        const int taken = std::min(places, (left + work.threads - 1) / work.threads);
        const int first = work.next.fetch_add(taken), last = std::min(work.count, first + taken);
        for (int from = first, to; from < last; from = to) {
            int tokens = work.lengths[from];
            for (to = from + 1; to < last && tokens + work.lengths[to] <= TOKENS; to++) tokens += work.lengths[to];
            read(from, to, tokens);
        }
    }

    // Encode the sentences from `first` to before `last`, and project their memories.
    void read(int first, int last, int tokens) {
        encode(first, last, tokens);
        const size_t before = active.size();
        for (int i = first; i < last; i++) active.push_back(sentence(i));
        const Rows& rows = model.read(x, tokens, shape.d_model, model.stride, space);
        for (int layer = 0; layer < shape.decoder_layers; layer++) {
            const Attention& attention = model.decoder[layer].cross_attn;
            const int wide = stride_of<float>(attention.key_value.padded);
            float* each = space.projected.reserve(size_t(tokens) * wide);
            model.write(attention.key_value, rows, each, wide, space);
            for (size_t i = before; i < active.size(); i++)
                for (int t = 0; t < active[i]->length; t++, each += wide) {
                    if (shape.core == Core::cosine) attention.turn_keys(each, nullptr);
                    active[i]->source[layer].write(shape, t, each);
                }
        }
    }

    std::unique_ptr<Sentence<T>> sentence(int number) {
        std::unique_ptr<Sentence<T>> made;
        if (spare.empty()) {
            made = std::make_unique<Sentence<T>>();
            made->source.resize(shape.decoder_layers);
            made->target.resize(shape.decoder_layers);
        } else {
            made = std::move(spare.back());
            spare.pop_back();
        }
        made->number = number, made->length = work.lengths[number], made->limit = work.limits[number], made->steps = 0;
        made->finished.clear();
        made->rows.assign(1, {0.0f, {}, {}, {}});
        if (work.allowed) made->output.select(model.output, work.shortlist(number), work.allowed_counts[number]);
        for (auto& memory : made->source)
            if (memory.room < made->length) memory.resize(shape, made->length);
        return made;
    }

    // The memories of some sentences, in x.
    void encode(int first, int last, int tokens) {
        const int stride = model.stride, d = shape.d_model;
        x.reserve(size_t(tokens) * stride);
        std::vector<int> at;
        for (int i = first; i < last; i++)
            for (int t = 0; t < work.lengths[i]; t++) {
                model.embed_source(work.sources[work.starts[i] + t], t, x + at.size() * stride);
                at.push_back(t);
            }
        float* context = zeroed(space.context, tokens);
        for (const Block& block : model.encoder) {
            const Attention& attention = block.self_attn;
            const int wide = stride_of<float>(attention.query_key_value.padded);
            float* all = space.projected.reserve(size_t(tokens) * wide);
            model.write(attention.query_key_value, model.enter(x, tokens, block.self_norm, space), all, wide, space);
            for (int row = 0; row < tokens; row++) turn(attention, all + size_t(row) * wide, at[row]);
            int row = 0;
            for (int i = first; i < last; i++) {
                const int n = work.lengths[i];
                if (memory.room < n) memory.resize(shape, n);
                for (int t = 0; t < n; t++) memory.write(shape, t, all + size_t(row + t) * wide + d);
                for (int t = 0; t < n; t++, row++)
                    memory.attend_with(shape, all + size_t(row) * wide, nullptr, n, space.scores, context + size_t(row) * stride);
            }
            model.add_attention(attention, context, x, tokens, space);
            model.leave(x, tokens, block.self_norm);
            model.feed_forward(block, x, tokens, space);
        }
        if (shape.norm_first)
            for (int row = 0; row < tokens; row++) model.encoder_norm.apply(x + size_t(row) * stride, x + size_t(row) * stride);
    }

    float* zeroed(Buffer<float>& buffer, int rows) {
        float* to = buffer.reserve(size_t(rows) * model.stride);
        if (shape.d_model % W) std::fill_n(to, size_t(rows) * model.stride, 0.0f);  // products read whole vectors
        return to;
    }
    void turn(const Attention& attention, float* query_key_value, int at) {
        if (!shape.rotary && shape.core == Core::dot) return;
        attention.turn_queries(query_key_value, model.angles_at(at));
        attention.turn_keys(query_key_value + shape.d_model, model.angles_at(at));
    }

    // One more token for every hypothesis.
    void step() {
        int m = 0;
        for (auto& sentence : active) m += sentence->rows.size();
        const int stride = model.stride;
        x.reserve(size_t(m) * stride);
        int row = 0;
        for (auto& sentence : active)
            for (auto& each : sentence->rows)
                model.embed_target(each.tokens.empty() ? shape.bos_id : each.tokens.back(), sentence->steps, x + size_t(row++) * stride);
        for (int layer = 0; layer < shape.decoder_layers; layer++) decoder_layer(layer, m);
        if (shape.norm_first)
            for (row = 0; row < m; row++) model.decoder_norm.apply(x + size_t(row) * stride, x + size_t(row) * stride);
        find_best(m);
        row = 0;
        size_t kept = 0;
        for (auto& sentence : active) {
            const int width = sentence->rows.size();
            if (advance(*sentence, &found_by[0][row])) {
                active[kept++].swap(sentence);
            } else {
                work.results[sentence->number] = std::move(sentence->finished);
                spare.push_back(std::move(sentence));
            }
            row += width;
        }
        active.resize(kept);
    }

    void decoder_layer(int layer, int m) {
        const Block& block = model.decoder[layer];
        const int stride = model.stride, beam = settings.beam;
        float* context = zeroed(space.context, m);
        {
            const Attention& attention = block.self_attn;
            const int wide = stride_of<float>(attention.query_key_value.padded);
            float* all = space.projected.reserve(size_t(m) * wide);
            model.write(attention.query_key_value, model.enter(x, m, block.self_norm, space), all, wide, space);
            int row = 0;
            for (auto& sentence : active) {
                KeyValueCache<T>& target = sentence->target[layer];
                const int first = sentence->steps * beam, n = sentence->rows.size();
                if (target.room < first + beam) target.resize(shape, std::max(16 * beam, 2 * target.room));
                for (int i = 0; i < n; i++) {
                    float* each = all + size_t(row + i) * wide;
                    turn(attention, each, sentence->steps);
                    target.write(shape, first + i, each + shape.d_model);
                    if (layer == 0) sentence->rows[i].path.push_back(first + i);
                }
                for (auto& each : sentence->rows) {
                    target.attend_with(shape, all + size_t(row) * wide, each.path.data(), sentence->steps + 1, space.scores, context + size_t(row) * stride);
                    row++;
                }
            }
            model.add_attention(attention, context, x, m, space);
            model.leave(x, m, block.self_norm);
        }
        {
            const Attention& attention = block.cross_attn;
            const int wide = stride_of<float>(attention.query.padded);
            float* all = space.projected.reserve(size_t(m) * wide);
            model.write(attention.query, model.enter(x, m, block.cross_norm, space), all, wide, space);
            int row = 0;
            for (auto& sentence : active)
                for (size_t i = 0; i < sentence->rows.size(); i++, row++) {
                    float* q = all + size_t(row) * wide;
                    if (shape.core == Core::cosine) attention.turn_queries(q, nullptr);
                    sentence->source[layer].attend_with(shape, q, nullptr, sentence->length, space.scores, context + size_t(row) * stride);
                }
            model.add_attention(attention, context, x, m, space);
            model.leave(x, m, block.cross_norm);
        }
        model.feed_forward(block, x, m, space);
    }

    // The best next tokens of every row.
    void find_best(int m) {
        const Rows& rows = model.read(x, m, shape.d_model, model.stride, space);
        std::vector<char> may_end;
        for (auto& sentence : active) may_end.insert(may_end.end(), sentence->rows.size(), sentence->steps >= settings.min_len);
        found_by.resize(team.size);
        for (auto& found : found_by) {
            found.resize(std::max<size_t>(m, found.size()));
            for (int row = 0; row < m; row++) found[row].clear(2 * settings.beam);
        }
        if (!work.allowed) {
            const int32_t forbidden[3] = {shape.pad_id, shape.bos_id, shape.eos_id};
            find_best_of(model.output, rows, 0, m, forbidden, may_end);
        } else {
            int row = 0;
            for (auto& sentence : active) {
                const int32_t* tokens = work.shortlist(sentence->number);
                const int32_t end = std::lower_bound(tokens, tokens + sentence->output.n, shape.eos_id) - tokens, forbidden[3] = {-1, -1, end};
                const int last = row + sentence->rows.size();
                find_best_of(sentence->output, rows, row, last, forbidden, may_end);
                for (auto& found : found_by)
                    for (int each = row; each < last; each++)
                        for (auto& [logit, token] : found[each].found) token = tokens[token];
                row = last;
            }
        }
        for (int number = 1; number < team.size; number++)
            for (int row = 0; row < m; row++) found_by[0][row].join(found_by[number][row]);
    }

    // The same for the rows from `first` to before `end`, among the outputs of one matrix. Logits of a part of it at a time stay in the
    // cache; each thread has its own parts.
    void find_best_of(const Matrix& output, const Rows& rows, int first, int end, const int32_t* forbidden, const std::vector<char>& may_end) {
        const int at_once = std::max(1, 256 / P), width = at_once * P;
        logits.reserve(size_t(team.size) * R * width);
        team.run([&](int number) {
            float* part = logits + size_t(number) * R * width;
            std::vector<Best>& found = found_by[number];
            const int parts = (output.panels() + at_once - 1) / at_once;
            for (int each = parts * number / team.size; each < parts * (number + 1) / team.size; each++) {
                const int panel = each * at_once, last = std::min(output.panels(), panel + at_once), first_token = panel * P;
                for (int from = first; from < end; from += R) {
                    const int count = std::min(R, end - from);
                    for (int p = panel; p < last; p++)
                        product_of_rows(output, rows, from, count, p, [=](int r, int column, const vf* y) {
                            for (int v = 0; v < V; v++) store(part + (r - from) * width + column - first_token + v * W, y[v]);
                        });
                    for (int r = 0; r < count; r++)
                        found[from + r].see(part + r * width, (last - panel) * P, first_token, output.n, forbidden, may_end[from + r] ? 2 : 3);
                }
            }
        });
    }

    struct Candidate {
        float log_prob;
        int parent;
        int32_t token;
        float token_log_prob;
    };
    std::vector<Candidate> candidates;

    // Choose a sentence's next hypotheses. Returns false once it is done.
    bool advance(Sentence<T>& sentence, const Best* found) {
        candidates.clear();
        for (size_t parent = 0; parent < sentence.rows.size(); parent++) {
            const float log_sum = found[parent].log_sum();
            for (auto [logit, token] : found[parent].found) {
                const float each = logit - log_sum;
                candidates.push_back({sentence.rows[parent].log_prob + each, int(parent), token, each});
            }
        }
        std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.log_prob > b.log_prob; });
        if (int(candidates.size()) > 2 * settings.beam) candidates.resize(2 * settings.beam);
        const int length = ++sentence.steps;
        std::vector<Row> next;
        int rank = 0;
        for (const Candidate& each : candidates) {
            const Row& parent = sentence.rows[each.parent];
            if (each.token == shape.eos_id) {
                if (rank < settings.beam) finish(sentence, parent, &each.token_log_prob);
            } else if (int(next.size()) < settings.beam) {
                next.push_back(parent);
                next.back().log_prob = each.log_prob;
                next.back().tokens.push_back(each.token);
                next.back().token_log_probs.push_back(each.token_log_prob);
            }
            rank++;
        }
        bool done = next.empty() || length == sentence.limit;
        if (done) {
            if (sentence.finished.empty())
                for (const Row& row : next.empty() ? sentence.rows : next) finish(sentence, row, nullptr);
        } else {
            const auto& best_of = sentence.finished;
            if (settings.stop_at_first || settings.beam == 1)
                done = int(best_of.size()) >= settings.beam;
            else
                done = int(best_of.size()) >= settings.n_best &&
                       settings.best_score(next[0].log_prob, length, sentence.limit) <= best_of[settings.n_best - 1].score;
        }
        sentence.rows = std::move(next);
        if (done && int(sentence.finished.size()) > settings.n_best) sentence.finished.resize(settings.n_best);
        return !done;
    }

    // Add a hypothesis to a sentence's list, best first; unfinished ones come as they are.
    void finish(Sentence<T>& sentence, const Row& row, const float* end) {
        Hypothesis found;
        found.tokens = row.tokens;
        found.token_log_probs = row.token_log_probs;
        found.finished = end != nullptr;
        if (end) found.token_log_probs.push_back(*end);
        double total = 0;
        for (float each : found.token_log_probs) total += each;
        found.score = total / settings.divisor(std::max<int>(1, found.token_log_probs.size()));
        auto& list = sentence.finished;
        auto place = list.end();
        if (end) place = std::find_if(list.begin(), list.end(), [&](const Hypothesis& other) { return !(other.score >= found.score); });
        list.insert(place, std::move(found));
        if (int(list.size()) > settings.beam) list.pop_back();
    }
};

}  // namespace sightline
