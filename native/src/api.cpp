// The functions that Python calls, through ctypes. Errors come back as text.
#include <exception>
#include <string>
#include <thread>

#include "search.h"

using namespace sightline;

namespace {
thread_local std::string error;
constexpr int MOST_INSIDE = 8;  // threads that share a product: more would wait longer for each other than they compute

template <class Do>
auto guarded(Do&& act) -> decltype(act()) {
    try {
        return act();
    } catch (const std::exception& problem) {
        error = problem.what();
        return {};
    }
}
}  // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED const char* sightline_error() { return error.c_str(); }

EXPORTED Model* sightline_model(const Shape* shape, const float* const* tensors, int count) {
    return guarded([&] { return new Model(*shape, Tensors(tensors, count)); });
}

EXPORTED void sightline_free_model(Model* model) { delete model; }

// Translations of `count` sentences, whose tokens stand one after another in `sources`; likewise in `allowed`, unless it is null, the
// tokens that each translation may hold, ascending, the end among them and neither padding nor begin. Threads work side by side, or together where
// there are fewer sentences. Some time after `stop` becomes 1, they are as far as they are.
EXPORTED Work* sightline_search(const Model* model, const Settings* settings, const int32_t* sources, const int32_t* lengths, const int32_t* limits,
                                const int32_t* allowed, const int32_t* allowed_counts, int count, int n_threads, const int32_t* stop) {
    return guarded([&] {
        const int inside = count < n_threads ? std::min(n_threads, MOST_INSIDE) : 1, searches = inside > 1 ? 1 : n_threads;
        auto work = std::make_unique<Work>(*model, *settings, sources, lengths, limits, allowed, allowed_counts, count, searches, stop);
        std::vector<std::string> problems(searches);
        auto run = [&](int number) {
            try {
                if (model->shape.int8) Search<half>(*work, inside).run();
                else Search<float>(*work, inside).run();
            } catch (const std::exception& problem) {
                problems[number] = problem.what();
            }
        };
        std::vector<std::thread> others;
        for (int number = 1; number < searches; number++) others.emplace_back(run, number);
        run(0);
        for (auto& thread : others) thread.join();
        for (auto& problem : problems)
            if (!problem.empty()) throw std::runtime_error(problem);
        return work.release();
    });
}

EXPORTED void sightline_free_work(Work* work) { delete work; }

// How many hypotheses there are of all sentences together, and how many numbers their tokens' log-probabilities are.
EXPORTED void sightline_sizes(const Work* work, int64_t* hypotheses, int64_t* steps) {
    *hypotheses = *steps = 0;
    for (auto& each : work->results)
        for (auto& found : each) ++*hypotheses, *steps += found.token_log_probs.size();
}

// `counts` of hypotheses for each sentence; for each of these its steps and whether it is finished; for each step the token (the
// end where there is one) and its log-probability.
EXPORTED void sightline_results(const Work* work, int32_t* counts, int32_t* steps, int32_t* finished, int32_t* tokens, float* log_probs) {
    for (auto& each : work->results) {
        *counts++ = each.size();
        for (auto& found : each) {
            *steps++ = found.token_log_probs.size();
            *finished++ = found.finished;
            tokens = std::copy(found.tokens.begin(), found.tokens.end(), tokens);
            if (found.finished) *tokens++ = work->model.shape.eos_id;
            log_probs = std::copy(found.token_log_probs.begin(), found.token_log_probs.end(), log_probs);
        }
    }
}
}
